//! The whole thing on one machine, with no account: regions, balancers, name server, outage.
