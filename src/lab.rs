//! The whole thing on one machine, with no account: regions, balancers, name server, outage.

pub mod balancer;
pub mod door;
pub mod nameserver;
pub mod region;
pub mod zone;
