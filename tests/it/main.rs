//! Tests of portald as its users meet it.

// clippy.toml allows it in `#[test]` functions only; helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[cfg(feature = "media")]
mod abuse;
mod access;
mod catalog;
#[cfg(feature = "media")]
mod admission;
#[cfg(feature = "media")]
mod churn;
mod config;
mod conformance;
mod control;
#[cfg(feature = "media")]
mod daemon;
mod doctor;
mod encoders;
mod example;
#[cfg(feature = "media")]
mod exit;
mod http;
#[cfg(feature = "media")]
mod journal;
mod login;
mod metrics;
#[cfg(feature = "media")]
mod media;
mod package;
#[cfg(feature = "media")]
mod pictures;
#[cfg(feature = "media")]
mod quality;
mod regressions;
#[cfg(feature = "media")]
mod reload;
mod remote;
mod rooms;
#[cfg(feature = "media")]
mod rtsp;
mod signalling;
mod site;
mod stills;
mod tidy;
mod tls;
#[cfg(feature = "media")]
mod supervision;
#[cfg(feature = "media")]
mod turn;
#[cfg(feature = "media")]
mod undisturbed;
#[cfg(feature = "media")]
mod uplink;
#[cfg(feature = "media")]
mod viewer;
