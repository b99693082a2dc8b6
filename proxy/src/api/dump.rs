//! `/api/support-dump`: what a person is asked for who asks for help, as one archive: version, static and dynamic configuration, each as
//! the API shows it. Secrets are as hidden as there.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Response;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};

const BLOCK_BYTES: usize = 512;

/// An archive of these files.
pub(super) fn answer(files: &[(&str, &[u8])]) -> io::Result<Response<Bytes>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    for (name, content) in files {
        out.write_all(&header(name, content.len())?)?;
        out.write_all(content)?;
        let rest = content.len() % BLOCK_BYTES;
        if rest > 0 {
            out.write_all(&[0; BLOCK_BYTES][rest..])?;
        }
    }
    // Two empty blocks end an archive.
    out.write_all(&[0; 2 * BLOCK_BYTES])?;
    let mut response = Response::new(Bytes::from(out.finish()?));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    let named = HeaderValue::from_static("attachment; filename=support-dump.tar.gz");
    headers.insert(CONTENT_DISPOSITION, named);
    Ok(response)
}

/// A file's head in the form of POSIX.1-1988 (ustar): readable by its owner alone, of no date, so that the same configuration gives the same bytes.
fn header(name: &str, bytes: usize) -> io::Result<[u8; BLOCK_BYTES]> {
    let mut head = [0; BLOCK_BYTES];
    let size = format!("{bytes:011o}");
    if size.len() > 11 || name.len() > 100 {
        return Err(io::Error::other("it does not fit an archive"));
    }
    let mut put = |at: usize, text: &str| {
        for (place, byte) in head.iter_mut().skip(at).zip(text.bytes()) {
            *place = byte;
        }
    };
    for (at, text) in [
        (0, name),
        (100, "0000600"),
        (108, "0000000"),
        (116, "0000000"),
        (124, size.as_str()),
        (136, "00000000000"),
    ] {
        put(at, text);
    }
    put(156, "0");
    put(257, "ustar\u{0}00");
    // The sum is taken with blanks in its own place.
    put(148, "        ");
    let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
    for (place, byte) in head.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
        *place = byte;
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn an_archive_has_its_files_in_whole_blocks_with_sums_that_hold() {
        let long = vec![b'x'; 1000];
        let response = answer(&[("version.json", b"{}"), ("long.json", &long)]).expect("it fits");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/gzip");
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&response.body()[..]).read_to_end(&mut plain).expect("gzip");
        assert_eq!(plain.len(), 512 * (1 + 1 + 1 + 2 + 2));
        for (at, name, bytes) in [(0, "version.json", 2), (1024, "long.json", 1000)] {
            let head = &plain[at..at + 512];
            assert!(head.starts_with(name.as_bytes()), "{name}");
            let number = |from: usize, to: usize| {
                let digits =
                    std::str::from_utf8(&head[from..to]).expect("digits").trim_end_matches(['\0', ' ']);
                u64::from_str_radix(digits, 8).expect("octal")
            };
            assert_eq!(number(124, 136), bytes);
            let sum: u64 = head
                .iter()
                .enumerate()
                .map(|(place, &byte)| match place {
                    148..156 => 32,
                    _ => u64::from(byte),
                })
                .sum();
            assert_eq!(number(148, 156), sum);
        }
        assert_eq!(&plain[512..514], b"{}");
        assert!(plain.ends_with(&[0; 1024]));
    }
}
