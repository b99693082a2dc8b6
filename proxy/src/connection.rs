//! One client connection from its first byte to its last: which protocol it speaks, its deadlines, its drain.
//! It never looks at routes: a request is handed whole to the application, and that is the request path.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

mod answer;
pub mod application;
mod bounds;
mod client_body;
pub mod control;
pub mod facts;
mod frames;
mod handshakes;
mod http1;
mod http2;
mod open;
pub mod settings;
pub mod stream;
mod streams;
mod timer;
mod watched;

pub(crate) use answer::panic_text;
pub use application::{Application, TunnelRun};
pub use bounds::Bounds;
pub use client_body::{ClientBody, ClientBodyError};
pub use control::{Control, Registry, Stage};
pub use facts::{ConnectionFacts, Protocol, RawTarget, TlsFacts};
pub use open::serve;
pub use settings::Settings;

/// A socket of which no byte was read.
#[derive(Debug)]
pub struct Accepted {
    /// Unique within the process's life.
    pub id: u64,
    /// The socket, on the worker that serves it.
    pub socket: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// Who accepted it.
    pub entry_point: Arc<str>,
    /// When.
    pub accepted_at: Instant,
}

/// What surrounds a connection.
pub struct Scope<A> {
    /// Answers its requests.
    pub application: Rc<A>,
    /// Its entry point's options, as they were when it was accepted.
    pub settings: Arc<Settings>,
    /// The worker's hand on it.
    pub control: Rc<Control>,
}

impl<A> Clone for Scope<A> {
    fn clone(&self) -> Self {
        Self {
            application: Rc::clone(&self.application),
            settings: Arc::clone(&self.settings),
            control: Rc::clone(&self.control),
        }
    }
}
