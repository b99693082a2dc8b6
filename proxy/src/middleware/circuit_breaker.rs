//! `circuitBreaker`: counts how a service answers, lets nothing through for a while once an expression over these counts holds, and then
//! ever more again. Its state is one for all workers and belongs to the router that uses it. It sends nothing by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use ravelin_config::dynamic;
use ravelin_config::expression::{Call, Expression, Value};

use super::{CompileError, Flow, Kept, PolicyStates, answer};
use crate::error::{bare, client_closed_request};

mod measure;

use measure::Measures;

/// The middleware before it is bound to a router.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    expression: Expression,
    check: Duration,
    fallback: Duration,
    recovery: Duration,
    status: StatusCode,
}

impl Settings {
    /// From its configuration.
    ///
    /// # Errors
    /// An expression that is none, a status that ends no request.
    pub fn compile(config: &dynamic::CircuitBreaker) -> Result<Self, CompileError> {
        let value = |option, reason: String| CompileError::Value { option, reason };
        let expression = Expression::parse(&config.expression, &dynamic::BREAKER_FIGURES)
            .map_err(|error| value("expression", error.to_string()))?;
        let code = if config.response_code == 0 { 503 } else { config.response_code };
        let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|status| !status.is_informational());
        let or = |duration: Option<ravelin_config::GoDuration>, unset| {
            duration.and_then(|duration| duration.positive()).unwrap_or(unset)
        };
        Ok(Self {
            expression,
            check: or(config.check_period, Duration::from_millis(100)),
            fallback: or(config.fallback_duration, Duration::from_secs(10)),
            recovery: or(config.recovery_duration, Duration::from_secs(10)),
            status: status.ok_or_else(|| value("responseCode", format!("{code} ends no request")))?,
        })
    }
}

/// What a breaker does with requests.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// All pass.
    Standby,
    /// None pass until then.
    Tripped(Instant),
    /// A growing share passes since then.
    Recovering { since: Instant, passed: u32, refused: u32 },
}

#[derive(Debug)]
struct State {
    mode: Mode,
    measures: Measures,
    checked: Option<Instant>,
}

/// The breaker of one router, for all workers.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: Mutex<State>,
}

impl Breaker {
    pub(super) fn new(settings: Settings) -> Self {
        let state = State { mode: Mode::Standby, measures: Measures::default(), checked: None };
        Self { settings, state: Mutex::new(state) }
    }

    /// Whether it works by these settings.
    pub(super) fn works_by(&self, settings: &Settings) -> bool {
        self.settings == *settings
    }

    /// Whether a request that comes now is let through.
    fn admits(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Mode::Tripped(until) = state.mode {
            if now < until {
                return false;
            }
            state.mode = Mode::Recovering { since: now, passed: 0, refused: 0 };
        }
        let Mode::Recovering { since, passed, refused } = &mut state.mode else { return true };
        let elapsed = now.saturating_duration_since(*since);
        if elapsed > self.settings.recovery {
            state.mode = Mode::Standby;
            return true;
        }
        // Half of them at the end: as many as are refused.
        let wanted = 0.5 * elapsed.as_secs_f64() / self.settings.recovery.as_secs_f64();
        let share = f64::from(*passed + 1) / f64::from(passed.saturating_add(*refused).saturating_add(1));
        let admitted = share < wanted;
        let count = if admitted { passed } else { refused };
        *count = count.saturating_add(1);
        admitted
    }

    /// A request that was let through came to this.
    fn observe(&self, status: StatusCode, took: Duration, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.measures.note(status.as_u16(), took, now);
        let due =
            state.checked.is_none_or(|checked| now.saturating_duration_since(checked) >= self.settings.check);
        if !due || matches!(state.mode, Mode::Tripped(_)) {
            return;
        }
        state.checked = Some(now);
        let measures = &mut state.measures;
        if self.settings.expression.holds(|call| figure(measures, call, now)) {
            state.mode = Mode::Tripped(now + self.settings.fallback);
            state.measures = Measures::default();
        }
    }
}

fn figure(measures: &mut Measures, call: &Call, now: Instant) -> Value {
    let code = |index: usize| match call.arguments.get(index) {
        Some(Value::Integer(code)) => *code,
        _ => 0,
    };
    match call.name {
        "NetworkErrorRatio" => {
            Value::Float(measures.ratio(now, |status| matches!(status, 502 | 504), |_| true))
        }
        "ResponseCodeRatio" => {
            let among = |from: i64, to: i64| move |status: u16| (from..to).contains(&i64::from(status));
            Value::Float(measures.ratio(now, among(code(0), code(1)), among(code(2), code(3))))
        }
        _ => {
            let quantile = match call.arguments.first() {
                Some(Value::Float(quantile)) => *quantile,
                _ => 0.0,
            };
            let latency = measures.latency(now, quantile).as_millis();
            Value::Integer(i64::try_from(latency).unwrap_or(i64::MAX))
        }
    }
}

/// One request that was let through; its end tells the breaker what it came to.
#[derive(Debug)]
pub struct Observation {
    breaker: Arc<Breaker>,
    began: Instant,
    /// `None` until there is an answer: the client left before.
    pub(super) status: Option<StatusCode>,
}

impl Drop for Observation {
    fn drop(&mut self) {
        let now = Instant::now();
        let status = self.status.unwrap_or_else(client_closed_request);
        self.breaker.observe(status, now.saturating_duration_since(self.began), now);
    }
}

/// The middleware as one router uses it.
#[derive(Debug)]
pub struct CircuitBreaker {
    breaker: Arc<Breaker>,
}

impl CircuitBreaker {
    pub(super) fn bind(settings: &Settings, owner: &str, name: &Arc<str>, states: &PolicyStates) -> Self {
        Self { breaker: states.breaker(owner, name, settings) }
    }

    pub(super) fn request(&self) -> Flow {
        let began = Instant::now();
        if !self.breaker.admits(began) {
            let status = self.breaker.settings.status;
            return answer(bare(status, status.canonical_reason().unwrap_or_default()));
        }
        let observation = Observation { breaker: Arc::clone(&self.breaker), began, status: None };
        Flow::Next(Kept::Observation(Box::new(observation)))
    }
}

#[cfg(test)]
mod tests;
