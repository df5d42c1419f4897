//! Probes of an endpoint from here.
