//! The backend of the benchmark: answers every request head with the same 1 KiB, as cheaply as it can,
//! so that it never is what limits a proxy. It parses no more of HTTP than the end of a head.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const BODY_BYTES: usize = 1024;

/// Serves until the process ends.
pub(crate) fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await.context("the backend's address")?;
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            tokio::task::spawn_local(connection(stream));
        }
    })
}

/// The one answer.
pub(crate) fn answer() -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n")
            .into_bytes();
    answer.resize(answer.len() + BODY_BYTES, b'x');
    answer
}

async fn connection(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let answer = answer();
    let mut buffer = vec![0; 16 << 10];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => return,
            Ok(count) => filled += count,
        }
        let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        buffer.copy_within(end + 4..filled, 0);
        filled -= end + 4;
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
