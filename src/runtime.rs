//! The sidecar: looks, decides, acts and tells, one task for each service, until it is told to stop.

pub mod http;
pub mod peer;
pub mod round;
pub mod watch;
