//! Listening sockets that outlived the last run, because systemd kept them: whoever connected meanwhile waits in them.

use std::io;
use std::net::{self, Shutdown, SocketAddr};

use socket2::Socket;
use tokio::net::TcpListener;

use super::listen::{BACKLOG, adjust};

/// Those that are wanted again.
#[derive(Debug)]
pub(super) struct Kept(Vec<Socket>);

impl Kept {
    /// Of `sockets`, those that listen at one of the `wanted` addresses just as wished for: with IPv4 too, or without.
    pub(super) fn new(sockets: Vec<net::TcpListener>, wanted: &[(SocketAddr, bool)]) -> Self {
        let (again, over): (Vec<Socket>, Vec<Socket>) = sockets
            .into_iter()
            .map(Socket::from)
            .partition(|socket| wanted.iter().any(|&(address, dual)| listens(socket, address, dual)));
        for socket in over {
            // Closing it is not enough: as long as systemd has it, too, it would take connections that nobody serves, and
            // the port.
            let _ = socket.shutdown(Shutdown::Both);
        }
        Self(again)
    }

    /// The socket for an address, if it is here. Must be called in a tokio runtime.
    pub(super) fn take(&mut self, address: SocketAddr, dual: bool) -> Option<io::Result<TcpListener>> {
        let at = self.0.iter().position(|socket| listens(socket, address, dual))?;
        let socket = self.0.swap_remove(at);
        Some(
            adjust(&socket)
                .and_then(|()| socket.listen(BACKLOG))
                .and_then(|()| TcpListener::from_std(socket.into())),
        )
    }
}

fn listens(socket: &Socket, address: SocketAddr, dual: bool) -> bool {
    let at = socket.local_addr().ok().and_then(|at| at.as_socket());
    let as_wished = address.is_ipv4() || socket.only_v6().is_ok_and(|only_v6| only_v6 != dual);
    at == Some(address) && as_wished && socket.is_listener().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::super::{bind, bind_keeping};
    use super::*;

    /// A listener, and what systemd would hold of it.
    async fn listener() -> (SocketAddr, net::TcpListener) {
        let first = bind(&["127.0.0.1:0".parse().unwrap()]).await.unwrap().remove(0);
        let address = first.local_addr().unwrap();
        (address, first.into_std().unwrap())
    }

    #[tokio::test]
    async fn whoever_connects_between_two_runs_is_served_by_the_second() {
        let (address, kept) = listener().await;
        let mut early = TcpStream::connect(address).unwrap();
        let listeners = bind_keeping(&[address], vec![kept]).unwrap();
        let (accepted, _) = listeners[0].accept().await.unwrap();
        let mut accepted = accepted.into_std().unwrap();
        accepted.set_nonblocking(false).unwrap();
        accepted.write_all(b"served").unwrap();
        drop(accepted);
        let mut told = String::new();
        early.read_to_string(&mut told).unwrap();
        assert_eq!(told, "served");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_wanted_any_more_listens_no_more_and_leaves_its_port() {
        let (address, kept) = listener().await;
        let systemds = kept.try_clone().unwrap();
        let elsewhere = bind_keeping(&["127.0.0.1:0".parse().unwrap()], vec![kept]).unwrap();
        assert_ne!(elsewhere[0].local_addr().unwrap(), address);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        bind(&[address]).await.unwrap();
        drop(systemds);
    }

    #[tokio::test]
    async fn one_that_takes_ipv4_too_is_not_one_that_does_not() {
        let Ok(mut first) = bind(&["[::]:0".parse().unwrap()]).await else { return };
        let address = first[0].local_addr().unwrap();
        if address.is_ipv4() {
            return; // no IPv6 on this machine
        }
        let kept = first.remove(0).into_std().unwrap();
        let systemds = kept.try_clone().unwrap();
        // Now IPv4 is listed besides, so the socket for IPv6 must be for IPv6 alone.
        let four = SocketAddr::from(([127, 0, 0, 1], address.port()));
        let listeners = bind_keeping(&[address, four], vec![kept]).unwrap();
        assert_eq!(listeners.len(), 2);
        drop(systemds);
    }
}
