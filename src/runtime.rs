//! The service: rounds, tasks, shutdown.
