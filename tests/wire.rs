//! What the AWS tests stand on: wire servers that others wrote, and a proxy of ours in front that keeps
//! a record and injects faults. Loopback only; every server ends with its handle.

pub(crate) mod cluster;
pub(crate) mod http;
pub(crate) mod nameserver;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod sts;
pub(crate) mod zonal;
