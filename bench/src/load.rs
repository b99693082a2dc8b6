//! The benchmark's load: a fixed number of keep-alive connections, each asking again as soon as its
//! answer is whole. It keeps every latency, and treats anything but the expected answer as an error.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// What one client sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// One field.
    Small,
    /// The fields that a browser sends.
    Browser,
}

impl Head {
    /// Its name in the output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "h1 (small head)",
            Self::Browser => "h1-browser (12 fields)",
        }
    }

    /// The request.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut text = "GET /bench/path?query=1 HTTP/1.1\r\nHost: bench.test\r\n".to_owned();
        if self == Self::Browser {
            text.push_str(
                "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
                 Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
                 Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: identity\r\n\
                 Referer: http://bench.test/somewhere/else\r\nConnection: keep-alive\r\n\
                 Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
                 Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
                 Priority: u=0, i\r\n",
            );
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// Keep-alive connections to one target, and what drives them.
pub(crate) struct Load {
    runtime: Runtime,
    clients: Vec<Client>,
}

impl Load {
    /// Opens `connections`.
    pub(crate) fn connect(target: SocketAddr, head: Head, connections: u64) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().context("a runtime")?;
        let open = async {
            let mut clients = Vec::new();
            for _ in 0..connections {
                clients.push(Client::connect(target, head.bytes()).await?);
            }
            anyhow::Ok(clients)
        };
        let clients = runtime.block_on(open)?;
        Ok(Self { runtime, clients })
    }

    /// Sends `requests`, shared out among the connections, and returns when all are answered; every latency in
    /// microseconds. After an error this load is of no further use.
    pub(crate) fn send(&mut self, requests: u64) -> anyhow::Result<Vec<u32>> {
        let count = self.clients.len() as u64;
        let sent = async {
            let mut running = Vec::new();
            for (number, mut client) in (0..).zip(self.clients.drain(..)) {
                let each = requests / count + u64::from(number < requests % count);
                running.push(tokio::task::spawn_local(async move {
                    let latencies = client.send(each).await?;
                    anyhow::Ok((client, latencies))
                }));
            }
            let mut latencies = Vec::with_capacity(requests as usize);
            let mut clients = Vec::new();
            for task in running {
                let (client, of_one) = task.await.context("a client")??;
                clients.push(client);
                latencies.extend(of_one);
            }
            anyhow::Ok((clients, latencies))
        };
        let (clients, latencies) = LocalSet::new().block_on(&self.runtime, sent)?;
        self.clients = clients;
        Ok(latencies)
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(target: SocketAddr, request: Vec<u8>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target).await.with_context(|| format!("connect to {target}"))?;
        stream.set_nodelay(true).context("a connected socket")?;
        Ok(Self { stream, request, buffer: vec![0; 32 << 10] })
    }

    async fn send(&mut self, count: u64) -> anyhow::Result<Vec<u32>> {
        let mut latencies = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let begun = Instant::now();
            self.stream.write_all(&self.request).await.context("send")?;
            answer(&mut self.stream, &mut self.buffer).await?;
            latencies.push(begun.elapsed().as_micros().min(u128::from(u32::MAX)) as u32);
        }
        Ok(latencies)
    }
}

/// Reads one whole answer with a known length.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> anyhow::Result<()> {
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await.context("receive")?;
        if count == 0 {
            bail!("the peer closed before its answer was whole");
        }
        filled += count;
        let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end]).context("a head in text")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("an answer other than 200: {head}");
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let whole = end + 4 + length.context("an answer without Content-Length")?;
        while filled < whole {
            let count = stream.read(&mut buffer[filled..]).await.context("receive")?;
            if count == 0 {
                bail!("the peer closed within a body");
            }
            filled += count;
        }
        if filled > whole {
            bail!("bytes after the answer");
        }
        return Ok(());
    }
}
