//! The PROXY protocol, versions 1 and 2: a header in front of a connection by which another proxy tells who its client is.
//! A pure function of a prefix: the same answer however the bytes arrive. It reads no socket, and must not be given a byte of a
//! peer that is not trusted: whoever may send a header may be anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use ravelin_config::static_config::ProxyProtocol;

/// What a header of version 1 begins with.
const SIGNATURE_V1: &[u8] = b"PROXY ";
/// What a header of version 2 begins with.
const SIGNATURE_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header of version 1, its line's end included, as the specification has it.
const V1_BYTES_MAX: usize = 107;
/// Of version 2 before the addresses: signature, version and command, family and transport, length of the rest.
const V2_FIXED_BYTES: usize = 16;
/// Of each of the two paths of a header about sockets of the peer's machine.
const PATH_BYTES: usize = 108;
/// Longest header of version 2, with all that a proxy may add about its client (certificates, cloud ids); the protocol's own
/// bound is 64 KiB, which no sender comes near.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Whose headers an entry point believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocolPolicy {
    insecure: bool,
    trusted: Box<[IpNet]>,
}

impl ProxyProtocolPolicy {
    /// From an entry point's option. What is no network is nobody's: the check has told so before.
    pub fn compile(option: &ProxyProtocol) -> Self {
        let network = |text: &String| {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
        };
        Self { insecure: option.insecure, trusted: option.trusted_ips.iter().filter_map(network).collect() }
    }

    /// Whether a header of this peer is read.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.insecure || self.trusted.iter().any(|network| network.contains(&peer))
    }
}

/// What the first bytes of a trusted peer's connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Still a beginning of more than one thing.
    Open,
    /// No header: they belong to what comes behind, and the peer is the client.
    Absent,
    /// A header.
    Present {
        /// How many bytes it has.
        bytes: usize,
        /// Who the client is; `None` where the peer speaks for itself (a health check), or the client has no IP address.
        client: Option<SocketAddr>,
    },
}

/// Why bytes that begin as a header are none. The connection cannot be served: nobody knows whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A line that is not as version 1 wants it.
    #[error("the PROXY header of version 1 is malformed")]
    Line,
    /// No line's end within the bytes that version 1 allows.
    #[error("the PROXY header of version 1 has more than {V1_BYTES_MAX} bytes")]
    LineTooLong,
    /// A version, command, family or transport that version 2 does not have.
    #[error("the PROXY header has a version, command or family that does not exist")]
    Unknown,
    /// Addresses or further fields that its length does not hold.
    #[error("the PROXY header of version 2 has a wrong length")]
    Length,
    /// More than [`HEADER_BYTES_MAX`].
    #[error("the PROXY header has {0} bytes, more than {HEADER_BYTES_MAX}")]
    TooLong(usize),
}

/// Judges the first bytes of a trusted peer's connection.
///
/// # Errors
/// They begin as a header and are none.
pub fn beginning(first: &[u8]) -> Result<Beginning, Malformed> {
    if begins(first, SIGNATURE_V1) {
        return version_1(first);
    }
    if begins(first, SIGNATURE_V2) {
        return version_2(first);
    }
    Ok(Beginning::Absent)
}

/// Whether both are the same as far as both go.
fn begins(first: &[u8], signature: &[u8]) -> bool {
    first.iter().zip(signature).all(|(byte, wanted)| byte == wanted)
}

fn version_1(first: &[u8]) -> Result<Beginning, Malformed> {
    let within = first.get(..V1_BYTES_MAX).unwrap_or(first);
    let Some(end) = within.iter().position(|&byte| byte == b'\n') else {
        return if first.len() < V1_BYTES_MAX { Ok(Beginning::Open) } else { Err(Malformed::LineTooLong) };
    };
    let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Malformed::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Line)?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        // Whatever stands behind it means nothing.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(ends::<Ipv4Addr>(words).ok_or(Malformed::Line)?),
        Some("TCP6") => Some(ends::<Ipv6Addr>(words).ok_or(Malformed::Line)?),
        _ => return Err(Malformed::Line),
    };
    Ok(Beginning::Present { bytes: end + 1, client })
}

/// Source of the two ends; all four words must be good.
fn ends<A: FromStr + Into<IpAddr>>(
    mut words: std::iter::Skip<std::str::Split<'_, char>>,
) -> Option<SocketAddr> {
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let (source, _destination) = (address()?, address()?);
    let (port, _destination) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| client(source, port))
}

/// A port as version 1 writes it: digits alone, without zeros in front.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn version_2(first: &[u8]) -> Result<Beginning, Malformed> {
    let fixed = first.get(SIGNATURE_V2.len()..).and_then(<[u8]>::first_chunk);
    let Some(&[version_and_command, family_and_transport, high, low]) = fixed else {
        return Ok(Beginning::Open);
    };
    let local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed::Unknown),
    };
    let (family, transport) = (family_and_transport >> 4, family_and_transport & 0xf);
    if family > 3 || transport > 2 {
        return Err(Malformed::Unknown);
    }
    let bytes = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if bytes > HEADER_BYTES_MAX {
        return Err(Malformed::TooLong(bytes));
    }
    let Some(rest) = first.get(V2_FIXED_BYTES..bytes) else { return Ok(Beginning::Open) };
    // The peer's own connection, or one whose family it does not tell: what follows means nothing.
    if local || family == 0 || transport == 0 {
        return Ok(Beginning::Present { bytes, client: None });
    }
    let (client, fields) = match family {
        1 => addresses::<4>(rest).map(|(client, fields)| (Some(client), fields)),
        2 => addresses::<16>(rest).map(|(client, fields)| (Some(client), fields)),
        // Paths of the peer's machine: who the client is cannot be told by an address.
        _ => rest.get(2 * PATH_BYTES..).map(|fields| (None, fields)),
    }
    .ok_or(Malformed::Length)?;
    check_fields(fields)?;
    Ok(Beginning::Present { bytes, client })
}

/// The source of a block of addresses and ports, and what stands behind the block.
fn addresses<const N: usize>(rest: &[u8]) -> Option<(SocketAddr, &[u8])>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = rest.split_first_chunk::<N>()?;
    let (_destination, rest) = rest.split_first_chunk::<N>()?;
    let (&[high, low, _, _], fields) = rest.split_first_chunk()?;
    Some((client(IpAddr::from(*source), u16::from_be_bytes([high, low])), fields))
}

/// Further fields (type, length, value) fill the header to its last byte. Nothing is taken from them.
fn check_fields(mut fields: &[u8]) -> Result<(), Malformed> {
    while !fields.is_empty() {
        let (&[_kind, high, low], rest) = fields.split_first_chunk().ok_or(Malformed::Length)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        fields = rest.get(length..).ok_or(Malformed::Length)?;
    }
    Ok(())
}

/// As the rest of the proxy knows addresses: an IPv4 client is one, however it is written.
fn client(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Text.
    One,
    /// Binary.
    Two,
}

/// The header by which a proxy tells that `client` has connected to `local`: what [`beginning`] is held against. Both ends are
/// of one family; if they are not, the header says that the client is unknown.
pub fn header(version: Version, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let same = client.is_ipv4() == local.is_ipv4();
    if version == Version::One {
        let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
        return match same {
            false => b"PROXY UNKNOWN\r\n".to_vec(),
            true => {
                let (source, target) = (client.ip(), local.ip());
                format!("PROXY {family} {source} {target} {} {}\r\n", client.port(), local.port())
                    .into_bytes()
            }
        };
    }
    let mut out = SIGNATURE_V2.to_vec();
    let mut ends = Vec::with_capacity(36);
    if same {
        for end in [client, local] {
            match end.ip() {
                IpAddr::V4(address) => ends.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => ends.extend_from_slice(&address.octets()),
            }
        }
        ends.extend([client, local].iter().flat_map(|end| end.port().to_be_bytes()));
    }
    // The longest is 36 bytes.
    let length = u8::try_from(ends.len()).unwrap_or_default();
    let family = match (same, client.is_ipv4()) {
        (false, _) => 0x00,
        (true, true) => 0x11,
        (true, false) => 0x21,
    };
    out.extend_from_slice(&[0x21, family, 0, length]);
    out.extend_from_slice(&ends);
    out
}

#[cfg(test)]
mod tests;
