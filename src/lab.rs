//! The whole thing on one machine, with no account: regions, balancers, name server, outage.

pub mod nameserver;
pub mod zone;
