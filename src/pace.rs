//! Token buckets on the injected clock.
