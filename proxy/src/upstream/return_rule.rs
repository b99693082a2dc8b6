//! The one rule by which a connection goes back to its pool. A pure function of what was seen of the exchange: every place that
//! could pool a connection asks here.

/// What was seen of one exchange on one upstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent observations; the rule is their conjunction")]
pub struct Observed {
    /// Head and body of the request are written completely.
    pub request_complete: bool,
    /// The answer was read to the end that its own framing gives.
    pub response_complete: bool,
    /// Error, EOF or timeout on either half.
    pub failed: bool,
    /// The answer ends with the connection.
    pub close_delimited: bool,
    /// Bytes after the answer, or anything readable.
    pub surplus: bool,
    /// `Connection: close` in the request or the answer.
    pub close_asked: bool,
    /// The answer is HTTP/1.1 (or HTTP/2).
    pub persistent_version: bool,
    /// `Transfer-Encoding` in an HTTP/1.0 answer.
    pub chunked_in_1_0: bool,
    /// 101, CONNECT, or any change of protocol.
    pub switched: bool,
    /// Authentication that binds to the connection (NTLM, Negotiate).
    pub bound_authentication: bool,
    /// Over the limit of requests or age.
    pub expired: bool,
    /// The worker drains.
    pub draining: bool,
    /// No service names the server any more.
    pub server_gone: bool,
}

impl Observed {
    /// A clean exchange that is not over yet: nothing speaks against the connection, nothing is complete.
    pub const fn fresh() -> Self {
        Self {
            request_complete: false,
            response_complete: false,
            failed: false,
            close_delimited: false,
            surplus: false,
            close_asked: false,
            persistent_version: true,
            chunked_in_1_0: false,
            switched: false,
            bound_authentication: false,
            expired: false,
            draining: false,
            server_gone: false,
        }
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Back to the pool.
    Return,
    /// Closed, for the first reason that holds.
    Close(Reason),
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// [`Observed::failed`].
    Failed,
    /// Not [`Observed::request_complete`].
    RequestIncomplete,
    /// Not [`Observed::response_complete`].
    ResponseIncomplete,
    /// [`Observed::close_delimited`].
    CloseDelimited,
    /// [`Observed::surplus`].
    Surplus,
    /// [`Observed::close_asked`].
    CloseAsked,
    /// Not [`Observed::persistent_version`], or [`Observed::chunked_in_1_0`].
    Version,
    /// [`Observed::switched`].
    Switched,
    /// [`Observed::bound_authentication`].
    BoundAuthentication,
    /// [`Observed::expired`].
    Expired,
    /// [`Observed::draining`].
    Draining,
    /// [`Observed::server_gone`].
    ServerGone,
}

/// Whether the connection may carry another request.
pub const fn verdict(seen: &Observed) -> Verdict {
    if seen.failed {
        Verdict::Close(Reason::Failed)
    } else if seen.switched {
        Verdict::Close(Reason::Switched)
    } else if !seen.request_complete {
        Verdict::Close(Reason::RequestIncomplete)
    } else if !seen.response_complete {
        Verdict::Close(Reason::ResponseIncomplete)
    } else if seen.close_delimited {
        Verdict::Close(Reason::CloseDelimited)
    } else if seen.surplus {
        Verdict::Close(Reason::Surplus)
    } else if seen.close_asked {
        Verdict::Close(Reason::CloseAsked)
    } else if !seen.persistent_version || seen.chunked_in_1_0 {
        Verdict::Close(Reason::Version)
    } else if seen.bound_authentication {
        Verdict::Close(Reason::BoundAuthentication)
    } else if seen.expired {
        Verdict::Close(Reason::Expired)
    } else if seen.draining {
        Verdict::Close(Reason::Draining)
    } else if seen.server_gone {
        Verdict::Close(Reason::ServerGone)
    } else {
        Verdict::Return
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Observed {
        Observed { request_complete: true, response_complete: true, ..Observed::fresh() }
    }

    type Fault = (fn(&mut Observed), Reason);

    const FAULTS: [Fault; 13] = [
        (|seen| seen.failed = true, Reason::Failed),
        (|seen| seen.switched = true, Reason::Switched),
        (|seen| seen.request_complete = false, Reason::RequestIncomplete),
        (|seen| seen.response_complete = false, Reason::ResponseIncomplete),
        (|seen| seen.close_delimited = true, Reason::CloseDelimited),
        (|seen| seen.surplus = true, Reason::Surplus),
        (|seen| seen.close_asked = true, Reason::CloseAsked),
        (|seen| seen.persistent_version = false, Reason::Version),
        (|seen| seen.chunked_in_1_0 = true, Reason::Version),
        (|seen| seen.bound_authentication = true, Reason::BoundAuthentication),
        (|seen| seen.expired = true, Reason::Expired),
        (|seen| seen.draining = true, Reason::Draining),
        (|seen| seen.server_gone = true, Reason::ServerGone),
    ];

    #[test]
    fn all_conditions_hold_or_the_connection_is_closed() {
        assert_eq!(verdict(&clean()), Verdict::Return);
        for bits in 1_u32..1 << FAULTS.len() {
            let mut seen = clean();
            let mut first = None;
            for (number, (fault, reason)) in FAULTS.iter().enumerate() {
                if bits & (1 << number) != 0 {
                    fault(&mut seen);
                    first.get_or_insert(*reason);
                }
            }
            assert_eq!(verdict(&seen), Verdict::Close(first.expect("at least one fault")), "{bits:013b}");
        }
    }
}
