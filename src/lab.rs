//! The whole thing on one machine, with no account: regions, balancers, name server, outage.
//!
//! Nothing in it is staged but the outage itself. Real HTTP goes over real sockets, addresses come from
//! a real name server, and the controller is the service's own round behind the ports that AWS has in
//! earnest. Only the times are short: the policy that is printed says how short.

pub mod balancer;
pub mod clients;
pub mod control;
pub mod door;
pub mod elb;
pub mod gates;
pub mod instruments;
pub mod losses;
pub mod nameserver;
pub mod outage;
pub mod pipeline;
pub mod region;
pub mod remote;
pub mod resort;
pub mod setup;
pub mod show;
pub mod stage;
pub mod summary;
pub mod world;
pub mod zone;
