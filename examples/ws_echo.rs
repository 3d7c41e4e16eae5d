//! The server's accept loop and WebSockets with a room that sends every frame back, for `make test-ws`. It listens on
//! the address given, by default a free port of loopback, prints the URL, and runs until it is killed.

#![allow(clippy::print_stdout)] // The URL is what it is asked for.

use std::error::Error;
use std::net::SocketAddr;

use portald::hub::Hub;
use portald::proto::room::{self, Rooms};
use portald::server::{self, Limits, Site};
use portald::status::Cameras;
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = std::env::args().nth(1).as_deref().unwrap_or("127.0.0.1:0").parse()?;
    let listeners = server::bind(&[address]).await?;
    let (hub, _hub_task) = Hub::spawn(Rooms::new(room::Limits::default()));
    let site = Site::new(hub, Cameras::new());
    println!("ws://{}{}?room=!echo", listeners[0].local_addr()?, site.path);
    // The suite opens its hundreds of connections from one address, as fast as it can.
    let limits = Limits { per_address: 512, ..Limits::default() };
    let (_end, told) = watch::channel(false);
    server::serve_within(listeners, site, limits, told).await;
    Ok(())
}
