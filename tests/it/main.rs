//! Tests of portald as its users meet it.

// clippy.toml allows it in `#[test]` functions only; helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(feature = "media")]
mod churn;
mod config;
mod conformance;
#[cfg(feature = "media")]
mod daemon;
mod example;
mod http;
#[cfg(feature = "media")]
mod media;
mod signalling;
mod site;
mod tidy;
#[cfg(feature = "media")]
mod viewer;
