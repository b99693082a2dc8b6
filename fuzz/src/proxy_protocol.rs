//! PROXY headers from any bytes: the answer does not change with what comes behind or with the cut, and whoever is named is named
//! again by the header that we would write of it.

use std::net::SocketAddr;

use ravelin_proxy::proxy_protocol::{Beginning, HEADER_BYTES_MAX, Version, beginning, header};

/// The input is what a trusted peer sends first.
pub fn run(input: &[u8]) {
    names(input);
}

/// As [`run`]; who the client is, if a header says so.
pub fn names(input: &[u8]) -> Option<SocketAddr> {
    let whole = beginning(input);
    // The first cut at which it is decided decides it for good.
    let decided = (0..=input.len().min(HEADER_BYTES_MAX))
        .map(|cut| beginning(&input[..cut]))
        .find(|answer| *answer != Ok(Beginning::Open));
    assert_eq!(decided.unwrap_or(Ok(Beginning::Open)), whole, "the cut changed the answer");
    let Ok(Beginning::Present { bytes, client }) = whole else { return None };
    assert!(bytes <= input.len() && bytes <= HEADER_BYTES_MAX, "a header of {bytes} bytes");
    let client = client?;
    assert_eq!(client.ip(), client.ip().to_canonical(), "an address in two forms");
    for version in [Version::One, Version::Two] {
        let written = header(version, client, client);
        let again = Beginning::Present { bytes: written.len(), client: Some(client) };
        assert_eq!(beginning(&written), Ok(again), "{client} is not read back");
    }
    Some(client)
}
