//! A listening socket, as all of ours are.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::proto::message::MAX_MESSAGE;

/// Kernel memory for what a client has not taken yet. Without it Linux lets the buffer grow to 4 MB before a
/// slow reader is noticed. It must hold a few of the largest messages.
const SEND_BUFFER: usize = 4 * MAX_MESSAGE;

/// Of that, what the kernel takes although what came before is still to be sent. A slow reader of pictures would see
/// them late by as many as fit the buffer.
const UNSENT: u32 = 64 * 1024;

/// Connections the kernel holds until we accept them: a wall of browsers that all come back after a restart.
pub(super) const BACKLOG: i32 = 1024;

pub(super) fn listen_on(address: SocketAddr, dual: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
    }
    // Connections of the last run that linger in TIME_WAIT must not keep the next one from starting.
    socket.set_reuse_address(true)?;
    adjust(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets what its connections inherit.
pub(super) fn adjust(socket: &Socket) -> io::Result<()> {
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_nonblocking(true)
}

pub(super) fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// What a kernel without IPv6 says: one started with `ipv6.disable=1`, or with all its interfaces' IPv6 off.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    // EAFNOSUPPORT on every Linux we build for; std has no name for it.
    error.raw_os_error() == Some(97) || error.kind() == io::ErrorKind::AddrNotAvailable
}
