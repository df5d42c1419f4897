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
mod cli;
mod crash;
mod lab;
mod policies;
mod service;
mod tidy;
mod traces;
