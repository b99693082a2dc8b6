//! Shows, before anything is measured, that the compared proxies do the same work: the backend gets the same set of
//! fields from each of them, and so does the client. It measures nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use super::backend;
use super::load::Head;
use super::peer::{self, Kind};

/// What an answer may have beside the others: who made it and when, and what is said of one connection only.
const OF_THE_HOP: [&str; 3] = ["server", "date", "connection"];
const WAIT_MAX: Duration = Duration::from_secs(30);

type Names = BTreeSet<String>;

/// Sends one request of each kind through each of `kinds`, prints what came through, and compares it with the first one's.
///
/// # Errors
/// A difference; a peer that is there and does not answer. One that cannot be started is left out, and said to be.
pub(crate) fn check(kinds: &[Kind], folder: &Path) -> anyhow::Result<()> {
    for head in [Head::Small, Head::Browser] {
        let mut first: Option<(Kind, Names, Names)> = None;
        for &kind in kinds {
            let upstream = TcpListener::bind("127.0.0.1:0").context("a free port")?;
            let peer = match peer::proxy(kind, folder, upstream.local_addr()?, &[], None) {
                Ok(peer) => peer,
                Err(error) => {
                    println!("not compared: {}: {error:#}", kind.name());
                    continue;
                }
            };
            let recorder = std::thread::spawn(move || record(&upstream));
            let answer = ask(peer.address, head).with_context(|| kind.name().to_owned())?;
            let Ok(request) = recorder.join() else { bail!("the recorder panicked") };
            let request = request.with_context(|| kind.name().to_owned())?;
            match &first {
                None => first = Some((kind, request, answer)),
                Some((other, wanted, wanted_answer)) => {
                    compare("the backend gets", wanted, &request, *other, kind)?;
                    compare("the client gets", wanted_answer, &answer, *other, kind)?;
                }
            }
        }
        if let Some((_, request, answer)) = first {
            let list = |names: &Names| names.iter().cloned().collect::<Vec<_>>().join(", ");
            println!(
                "same work, {}: each hands the backend {} fields ({}) and the client {} but for those of the hop ({})",
                head.name(),
                request.len(),
                list(&request),
                answer.len(),
                list(&answer)
            );
        }
    }
    println!();
    Ok(())
}

fn compare(what: &str, wanted: &Names, got: &Names, first: Kind, second: Kind) -> anyhow::Result<()> {
    if wanted != got {
        let (first_name, second_name) = (first.name(), second.name());
        bail!(
            "{what} from {first_name} alone {:?}, from {second_name} alone {:?}: not the same work",
            wanted.difference(got).collect::<Vec<_>>(),
            got.difference(wanted).collect::<Vec<_>>()
        );
    }
    Ok(())
}

/// The fields of the one request that comes, which is answered as the backend answers.
fn record(listener: &TcpListener) -> anyhow::Result<Names> {
    let (mut stream, _) = listener.accept().context("accept")?;
    stream.set_read_timeout(Some(WAIT_MAX)).context("a connected socket")?;
    let names = names(&read_head(&mut stream)?);
    stream.write_all(&backend::answer()).context("the backend's answer")?;
    Ok(names)
}

fn ask(target: SocketAddr, head: Head) -> anyhow::Result<Names> {
    let mut stream = TcpStream::connect(target).context("connect")?;
    stream.set_read_timeout(Some(WAIT_MAX)).context("a connected socket")?;
    stream.write_all(&head.bytes()).context("send")?;
    let answer = read_head(&mut stream)?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("an answer other than 200: {answer}");
    }
    let mut names = names(&answer);
    names.retain(|name| !OF_THE_HOP.contains(&name.as_str()));
    Ok(names)
}

fn read_head(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part).context("receive")?;
        if count == 0 {
            bail!("closed within a head");
        }
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            bytes.truncate(end);
            return String::from_utf8(bytes).context("a head in text");
        }
    }
}

fn names(head: &str) -> Names {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.map(|(name, _)| name.to_ascii_lowercase()).collect()
}
