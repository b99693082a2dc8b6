//! `buffering`: requests and answers are read to their end before they go on, within bounds; what is whole can be sent again while an
//! expression says so. What exceeds its memory lies in a temporary file.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, StatusCode};
use ravelin_config::dynamic;
use ravelin_config::expression::{Call, Expression, Value};

use super::{Again, Back, CompileError, Flow, Head, Kept};
use crate::body::{RequestBody, ResponseBody};
use crate::error::{RequestError, UpstreamFailure};
use crate::spool::{Bounds, SpoolError, Spooled, spool};

/// What is kept in memory where nothing is said.
const MEMORY_BYTES: u64 = 1 << 20;
/// A request is sent at most once more often than this, whatever the expression says.
const REPEATS_MAX: i64 = 10;

/// The compiled middleware.
#[derive(Debug)]
pub struct Buffering {
    request: Bounds,
    response: Bounds,
    again: Option<Expression>,
    keeps_request: bool,
    keeps_response: bool,
}

/// What is known of one request.
#[derive(Debug)]
pub struct Whole {
    method: Method,
    body: Option<Rc<Spooled>>,
    attempts: i64,
}

impl Buffering {
    /// From its configuration.
    ///
    /// # Errors
    /// Negative sizes, an expression that is none.
    pub fn compile(config: &dynamic::Buffering) -> Result<Self, CompileError> {
        let size = |option, bytes: i64| {
            u64::try_from(bytes)
                .map_err(|_| CompileError::Value { option, reason: format!("{bytes} is negative") })
        };
        let bounds = |memory: u64, most: u64| Bounds {
            memory: if memory == 0 { MEMORY_BYTES } else { memory },
            most: (most > 0).then_some(most),
            tells_length: true,
        };
        let request = bounds(
            size("memRequestBodyBytes", config.mem_request_body_bytes)?,
            size("maxRequestBodyBytes", config.max_request_body_bytes)?,
        );
        let response = bounds(
            size("memResponseBodyBytes", config.mem_response_body_bytes)?,
            size("maxResponseBodyBytes", config.max_response_body_bytes)?,
        );
        let again = (!config.retry_expression.is_empty())
            .then(|| Expression::parse(&config.retry_expression, &dynamic::BUFFERING_FIGURES))
            .transpose()
            .map_err(|error| CompileError::Value { option: "retryExpression", reason: error.to_string() })?;
        let (keeps_request, keeps_response) =
            (!config.disable_request_buffer, !config.disable_response_buffer);
        Ok(Self { request, response, again, keeps_request, keeps_response })
    }

    pub(super) fn request(&self, head: &mut Head<'_>) -> Flow {
        if http_body::Body::is_end_stream(head.body) {
            return self.around(head, None);
        }
        let told = http_body::Body::size_hint(head.body).lower();
        if self.request.most.is_some_and(|most| told > most) {
            return Flow::Refuse(RequestError::ContentTooLarge);
        }
        if !self.keeps_request {
            let body = std::mem::replace(head.body, RequestBody::empty());
            *head.body = body.limited(self.request.most);
            return self.around(head, None);
        }
        Flow::keep_body(head, self.request)
    }

    /// Goes on with the client's body.
    pub(super) fn resume(
        &self,
        head: &mut Head<'_>,
        body: Result<Rc<Spooled>, SpoolError<RequestBody>>,
    ) -> Flow {
        match body {
            Ok(spooled) => {
                *head.body = RequestBody::kept(&spooled);
                self.around(head, Some(spooled))
            }
            Err(error) => Flow::Refuse(error.into()),
        }
    }

    fn around(&self, head: &Head<'_>, body: Option<Rc<Spooled>>) -> Flow {
        let whole = Kept::Buffering(Box::new(Whole { method: head.method.clone(), body, attempts: 1 }));
        if self.again.is_some() && (self.keeps_request || http_body::Body::is_end_stream(&*head.body)) {
            Flow::Around(whole)
        } else {
            Flow::Next(whole)
        }
    }

    pub(super) fn response(
        self: &Arc<Self>,
        whole: Box<Whole>,
        response: &mut Response<ResponseBody>,
    ) -> Back {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Back::Pass;
        }
        if !self.keeps_response {
            return self.decide(whole, response.status());
        }
        let (mut head, body) = std::mem::replace(response, Response::new(ResponseBody::empty())).into_parts();
        let (buffering, bounds) = (Arc::clone(self), self.response);
        Back::later(async move {
            match spool(body, bounds).await {
                Ok(spooled) => {
                    let back = buffering.decide(whole, head.status);
                    head.extensions.clear();
                    (Response::from_parts(head, ResponseBody::kept(&spooled)), back)
                }
                Err(error) => (failed(error).into_response(), Back::Pass),
            }
        })
    }

    /// Whether the request is sent once more after an answer of this status.
    fn decide(&self, mut whole: Box<Whole>, status: StatusCode) -> Back {
        let figure = |call: &Call| match call.name {
            "Attempts" => Value::Integer(whole.attempts),
            "ResponseCode" => Value::Integer(i64::from(status.as_u16())),
            "RequestMethod" => Value::Text(whole.method.to_string()),
            // As in Traefik by the status alone.
            _ => Value::Truth(matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)),
        };
        let again = self.again.as_ref().is_some_and(|again| again.holds(figure));
        if !again || whole.attempts > REPEATS_MAX {
            return Back::Pass;
        }
        whole.attempts += 1;
        let body = whole.body.as_ref().map_or_else(RequestBody::empty, RequestBody::kept);
        Back::Again(Box::new(Again { kept: Kept::Buffering(whole), body: Some(body), after: Duration::ZERO }))
    }
}

fn failed(error: SpoolError<ResponseBody>) -> RequestError {
    match error {
        SpoolError::TooLong(..) => RequestError::Middleware {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason: "the answer is larger than it may be buffered",
        },
        SpoolError::Disk(error) => RequestError::Disk(error),
        SpoolError::Broken(error) => {
            RequestError::upstream(UpstreamFailure::Malformed, Some(error.into()), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Sample;
    use super::*;
    use crate::error::bare;

    fn buffering(change: impl FnOnce(&mut dynamic::Buffering)) -> Result<Buffering, CompileError> {
        let mut config = dynamic::Buffering::default();
        change(&mut config);
        Buffering::compile(&config)
    }

    async fn settle(back: Back, response: &mut Response<ResponseBody>) -> Back {
        match back {
            Back::Later(later) => {
                let (answer, back) = later.await;
                *response = answer;
                back
            }
            other => other,
        }
    }

    /// How often a request goes out whose every answer has this status, and the last answer.
    fn sent(buffering: Buffering, method: &str, status: u16) -> (u32, Response<ResponseBody>) {
        let buffering = Arc::new(buffering);
        let mut kept = match Sample::new(method, "/").run(|head| buffering.request(head)) {
            Flow::Around(Kept::Buffering(whole)) | Flow::Next(Kept::Buffering(whole)) => whole,
            other => panic!("{other:?}"),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for count in 1.. {
            let mut response = bare(status.try_into().expect("a status"), "text");
            let back = runtime.block_on(settle(buffering.response(kept, &mut response), &mut response));
            let Back::Again(again) = back else { return (count, response) };
            let Kept::Buffering(whole) = again.kept else { panic!("what is known is kept") };
            kept = whole;
        }
        unreachable!("the count has no end")
    }

    #[test]
    fn a_request_goes_out_while_the_expression_holds_and_no_more_than_eleven_times() {
        let times = |expression: &str, method: &str, status: u16| {
            let made = buffering(|config| config.retry_expression = expression.to_owned()).expect("good");
            sent(made, method, status).0
        };
        assert_eq!(times("", "GET", 500), 1);
        assert_eq!(times("ResponseCode() >= 500", "GET", 500), 11);
        assert_eq!(times("ResponseCode() >= 500 && Attempts() < 3", "GET", 500), 3);
        assert_eq!(times("IsNetworkError() && Attempts() <= 2", "POST", 502), 3);
        assert_eq!(times("IsNetworkError() && Attempts() <= 2", "POST", 503), 1);
        assert_eq!(times("RequestMethod() == \"GET\"", "POST", 200), 1);
    }

    #[test]
    fn an_answer_over_its_bound_becomes_a_500() {
        let limited = |bytes| buffering(|config| config.max_response_body_bytes = bytes).expect("good");
        assert_eq!(sent(limited(4), "GET", 404).1.status(), 404);
        let (_, response) = sent(limited(3), "GET", 404);
        assert_eq!(response.status(), 500);
    }

    #[test]
    fn negative_sizes_and_foreign_expressions_are_refused() {
        assert!(buffering(|config| config.max_request_body_bytes = -1).is_err());
        assert!(buffering(|config| config.mem_request_body_bytes = -1).is_err());
        assert!(buffering(|config| config.max_response_body_bytes = -1).is_err());
        assert!(buffering(|config| config.mem_response_body_bytes = -1).is_err());
        assert!(buffering(|config| config.retry_expression = "Attempts()".to_owned()).is_err());
    }
}
