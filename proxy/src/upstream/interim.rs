//! Interim (1xx) answers of HTTP/1 servers on their way to the client. Only whole heads come here; what is none of the client's
//! business is dropped.

use std::rc::Rc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use crate::connection::ConnectionFacts;
use crate::forwarded;

/// To whom the interim answers of a request go. Its connection writes them whenever it is flushed, which it is after each poll
/// of the request.
#[derive(Clone, Copy)]
pub(crate) struct Relay<'c> {
    pub(crate) connection: &'c Rc<ConnectionFacts>,
    /// The client's own `100-continue` is answered on its side already.
    pub(crate) relay_continue: bool,
}

impl Relay<'_> {
    /// Passes one head on, without the fields of the hop; those that stay are left in `fields`.
    pub(crate) fn pass(self, status: StatusCode, fields: &mut HeaderMap) {
        if status == StatusCode::CONTINUE && !self.relay_continue {
            return;
        }
        let present = forwarded::Present::of(fields);
        forwarded::strip_answer(fields, present, false);
        fields.remove(CONTENT_LENGTH);
        self.connection.send_interim(status, fields);
    }
}
