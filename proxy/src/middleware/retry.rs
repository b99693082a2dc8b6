//! `retry`: a request that no server could be reached for, or that got an answer of certain statuses, is sent again from here, through
//! the choice of the server too. It sends nothing again that may have been carried out, unless a status says that it may.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Method, Response};
use rand::RngExt as _;
use ravelin_config::dynamic::{self, StatusRanges};

use super::{Again, Attempt, Back, CompileError, Flow, Head, Kept};
use crate::body::{RequestBody, ResponseBody};
use crate::spool::{Bounds, SpoolError, Spooled};

/// Largest body that is kept where nothing is said.
const BODY_BYTES_MAX: i64 = 2 << 20;
/// Of a kept body in memory; where more may be kept, a file takes it.
const MEMORY_BYTES_MAX: u64 = 2 << 20;

/// The compiled middleware.
#[derive(Debug)]
pub struct Retry {
    attempts: u32,
    interval: Duration,
    timeout: Option<Duration>,
    body_bytes_max: Option<u64>,
    statuses: StatusRanges,
    unreached: bool,
    any_method: bool,
}

/// What is left of the attempts of one request.
#[derive(Debug)]
pub struct Left {
    attempts: u32,
    began: Instant,
    /// Whether a status may make the request be sent again.
    by_status: bool,
    /// The body that is sent again. `None`: there is none, or it is not kept.
    body: Option<Rc<Spooled>>,
}

impl Retry {
    /// From its configuration.
    ///
    /// # Errors
    /// Statuses that are none, no attempt, nothing to repeat on.
    pub fn compile(config: &dynamic::Retry) -> Result<Self, CompileError> {
        let value = |option, reason: String| CompileError::Value { option, reason };
        let statuses =
            StatusRanges::parse(&config.status).map_err(|error| value("status", error.to_string()))?;
        if statuses.is_empty() && config.disable_retry_on_network_error {
            return Err(value("status", "nothing makes a request be sent again".to_owned()));
        }
        let attempts = u32::try_from(config.attempts).ok().filter(|&attempts| attempts > 0);
        let most = config.max_request_body_bytes.unwrap_or(BODY_BYTES_MAX);
        Ok(Self {
            attempts: attempts.ok_or_else(|| value("attempts", config.attempts.to_string()))?,
            interval: config.initial_interval.and_then(|interval| interval.positive()).unwrap_or_default(),
            timeout: config.timeout.and_then(|timeout| timeout.positive()),
            body_bytes_max: u64::try_from(most).ok(),
            statuses,
            unreached: !config.disable_retry_on_network_error,
            any_method: config.retry_non_idempotent_method,
        })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        if self.attempts == 1 {
            return Flow::Next(Kept::Nothing);
        }
        let by_status = !self.statuses.is_empty() && (self.any_method || is_repeatable(head.method));
        if !by_status || http_body::Body::is_end_stream(head.body) {
            return self.around(by_status, None);
        }
        let bounds = Bounds { memory: MEMORY_BYTES_MAX, most: self.body_bytes_max, tells_length: false };
        Flow::keep_body(head, bounds)
    }

    /// Goes on with the client's body: one that is too long is not kept, and no status makes it be sent again.
    pub(super) fn resume(
        &self,
        head: &mut Head<'_>,
        body: Result<Rc<Spooled>, SpoolError<RequestBody>>,
    ) -> Flow {
        match body {
            Ok(spooled) => {
                *head.body = RequestBody::kept(&spooled);
                self.around(true, Some(spooled))
            }
            Err(SpoolError::TooLong(read, rest)) => {
                *head.body = RequestBody::begun(&read, rest);
                self.around(false, None)
            }
            Err(error) => Flow::Refuse(error.into()),
        }
    }

    fn around(&self, by_status: bool, body: Option<Rc<Spooled>>) -> Flow {
        let left = Left { attempts: self.attempts - 1, began: Instant::now(), by_status, body };
        Flow::Around(Kept::Retry(Box::new(left)))
    }

    pub(super) fn response(
        &self,
        mut left: Box<Left>,
        response: &Response<ResponseBody>,
        attempt: Attempt,
    ) -> Back {
        let unreached = self.unreached && attempt.unsent;
        let by_status =
            left.by_status && attempt.reached && self.statuses.contains(response.status().as_u16());
        if left.attempts == 0 || !(unreached || by_status) {
            return Back::Pass;
        }
        let after = self.wait(self.attempts - 1 - left.attempts);
        if self.timeout.is_some_and(|timeout| left.began.elapsed().saturating_add(after) > timeout) {
            return Back::Pass;
        }
        left.attempts -= 1;
        let body = left.body.as_ref().map(RequestBody::kept);
        Back::Again(Box::new(Again { kept: Kept::Retry(left), body, after }))
    }

    /// How long to wait before the request is sent again for the nth time: the interval, at last twice as long, and up to half of it
    /// more or less, so that those who failed together do not come back together.
    fn wait(&self, number: u32) -> Duration {
        if self.interval.is_zero() {
            return Duration::ZERO;
        }
        let steps = f64::from(self.attempts.saturating_sub(2).max(1));
        let grown = self.interval.mul_f64(2_f64.powf(f64::from(number) / steps));
        grown.mul_f64(rand::rng().random_range(0.5..=1.5))
    }
}

/// Whether carrying a request out twice does no harm, in Traefik's eyes.
fn is_repeatable(method: &Method) -> bool {
    !matches!(method.as_str(), "POST" | "PATCH" | "LOCK")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::Sample;
    use super::*;
    use crate::error::bare;
    use ravelin_config::GoDuration;

    fn retry(change: impl FnOnce(&mut dynamic::Retry)) -> Retry {
        let mut config = dynamic::Retry { attempts: 3, ..dynamic::Retry::default() };
        change(&mut config);
        Retry::compile(&config).expect("good")
    }

    /// How often a request is sent again if each time comes to this.
    fn repeats(retry: &Retry, method: &str, status: u16, attempt: Attempt) -> u32 {
        let mut kept = match Sample::new(method, "/").run(|head| retry.request(head)) {
            Flow::Around(Kept::Retry(left)) => left,
            Flow::Next(Kept::Nothing) => return 0,
            other => panic!("{other:?}"),
        };
        let mut count = 0;
        let response = bare(status.try_into().expect("a status"), "");
        while let Back::Again(again) = retry.response(kept, &response, attempt) {
            count += 1;
            let Kept::Retry(left) = again.kept else { panic!("what is left is kept") };
            kept = left;
        }
        count
    }

    const SERVED: Attempt = Attempt { reached: true, unsent: false };
    const UNSENT: Attempt = Attempt { reached: true, unsent: true };

    #[test]
    fn what_was_not_sent_is_sent_again_whatever_its_method() {
        let plain = retry(|_| {});
        assert_eq!(repeats(&plain, "POST", 502, UNSENT), 2);
        assert_eq!(repeats(&plain, "GET", 502, SERVED), 0);
        assert_eq!(repeats(&plain, "GET", 503, Attempt::default()), 0, "no server was chosen");
        assert_eq!(repeats(&retry(|config| config.attempts = 1), "GET", 502, UNSENT), 0);
    }

    #[test]
    fn statuses_repeat_what_a_server_answered_and_only_harmless_methods() {
        let statuses = |config: &mut dynamic::Retry| config.status = vec!["500-599".into(), "404".into()];
        let by_status = retry(statuses);
        assert_eq!(repeats(&by_status, "GET", 500, SERVED), 2);
        assert_eq!(repeats(&by_status, "PUT", 404, SERVED), 2);
        assert_eq!(repeats(&by_status, "GET", 200, SERVED), 0);
        assert_eq!(repeats(&by_status, "GET", 500, Attempt::default()), 0, "an answer from before a server");
        for method in ["POST", "PATCH", "LOCK"] {
            assert_eq!(repeats(&by_status, method, 500, SERVED), 0, "{method}");
        }
        let any = retry(|config| {
            statuses(config);
            config.retry_non_idempotent_method = true;
            config.disable_retry_on_network_error = true;
        });
        assert_eq!(repeats(&any, "POST", 500, SERVED), 2);
        assert_eq!(repeats(&any, "GET", 499, UNSENT), 0);
    }

    #[test]
    fn nothing_is_sent_again_after_the_timeout() {
        let short = retry(|config| {
            config.initial_interval = Some(GoDuration::from_secs(60));
            config.timeout = Some(GoDuration::from_secs(1));
        });
        assert_eq!(repeats(&short, "GET", 502, UNSENT), 0, "the wait alone is longer");
    }

    #[test]
    fn what_could_never_repeat_is_refused() {
        for config in [
            dynamic::Retry::default(),
            dynamic::Retry { attempts: -1, ..dynamic::Retry::default() },
            dynamic::Retry { attempts: 2, disable_retry_on_network_error: true, ..dynamic::Retry::default() },
            dynamic::Retry { attempts: 2, status: vec!["5xx".into()], ..dynamic::Retry::default() },
        ] {
            assert!(Retry::compile(&config).is_err(), "{config:?}");
        }
    }

    proptest! {
        /// Waits grow, and no wait is longer than the bound that the fields promise.
        #[test]
        fn waits_are_bounded(attempts in 2_i64..40, millis in 1_i64..10_000, number in 0_u32..40) {
            let retry = retry(|config| {
                config.attempts = attempts;
                config.initial_interval = Some(GoDuration::from_millis(millis));
            });
            let number = number.min(retry.attempts - 2);
            let (wait, interval) = (retry.wait(number), retry.interval);
            prop_assert!(wait >= interval / 2 && wait <= interval * 3 + Duration::from_millis(1), "{:?}", wait);
        }
    }
}
