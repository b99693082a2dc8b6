//! Opens listening sockets. It keeps none of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use ravelin_config::static_config::Address;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections the kernel keeps for us until we accept them.
const BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether the client is still there, as in Go.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Opens `count` sockets on one address, among which the kernel spreads connections.
///
/// Sockets that share an address would let a second process in without a word: with `probe` the address is first bound
/// alone, which fails while anybody else listens there. An address that is `taken` by one of ours is not opened a second time.
///
/// # Errors
/// The system's.
pub(super) fn open(
    address: &Address,
    count: usize,
    probe: bool,
    taken: impl Fn(SocketAddr) -> bool,
) -> io::Result<(Box<[TcpListener]>, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for candidate in candidates(address)? {
        if taken(candidate) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another entry point listens there"));
        }
        match open_at(candidate, count, probe) {
            Ok(opened) => return Ok(opened),
            // Without IPv6 on this machine an empty host means all of IPv4.
            Err(error) if is_unsupported(&error) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn candidates(address: &Address) -> io::Result<Vec<SocketAddr>> {
    let port = address.port;
    if address.host.is_empty() {
        let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        return Ok(all.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    let mut found: Vec<SocketAddr> = (address.host.as_str(), port).to_socket_addrs()?.collect();
    // As Go does where a name has both.
    found.sort_by_key(SocketAddr::is_ipv6);
    Ok(found)
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

fn open_at(address: SocketAddr, count: usize, probe: bool) -> io::Result<(Box<[TcpListener]>, SocketAddr)> {
    if probe {
        drop(bind(address, false)?);
    }
    let mut local = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let listener = bind(local, true)?;
        listener.listen(BACKLOG)?;
        let listener = TcpListener::from(listener);
        // With port 0 the first socket gets a port, and the others go there.
        local = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok((listeners.into(), local))
}

fn bind(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Connections of an earlier process that are still dying do not hold the port.
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Inherited by what is accepted, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    socket.bind(&address.into())?;
    Ok(socket)
}
