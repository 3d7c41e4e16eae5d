//! Tests of portald as its users meet it.

// clippy.toml allows it in `#[test]` functions only; helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod config;
mod http;
mod signalling;
mod site;
