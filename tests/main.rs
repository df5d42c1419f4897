//! The integration tests: one binary, because linking the AWS SDK is slow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test may panic"
)]

#[cfg(feature = "aws")]
mod aws_wire;
mod bad_policies;
mod check;
mod cli;
mod crash;
mod cures;
#[cfg(feature = "aws")]
mod evacuate;
mod events;
mod gates;
#[cfg(feature = "aws")]
mod infra;
mod lab;
mod ladder;
mod made_up;
mod orders;
mod pace_of_levers;
mod planted;
mod policies;
mod policy_text;
mod reading;
mod recorded;
mod service;
mod sim;
mod site;
mod steer;
mod switches;
mod test_command;
mod tidy;
mod timeline;
mod traces;
#[cfg(feature = "aws")]
mod wire;
