//! What becomes of calls that fail.
use std::time::Duration;

use serde_saphyr::Spanned;

use super::MILLISECOND;
use crate::job::{
    BACKOFF_DEFAULT, BACKOFF_MAX, CIRCUIT_FAILURES_MAX, CIRCUIT_SPAN_MAX, CircuitBreakerSpec, Code, FailureAction,
    FailureSpec, JobError, RETRIES_MAX,
    raw::{RawCircuitBreaker, RawOnFailure},
    values::Context,
};

pub(super) fn on_failure(context: &Context<'_>, raw: Spanned<RawOnFailure>) -> Result<FailureSpec, JobError> {
    let place = context.place(raw.referenced);
    let raw = match raw.value {
        RawOnFailure::Action(action) => return Ok(FailureSpec { place, action, ..FailureSpec::default() }),
        RawOnFailure::Settings(raw) => *raw,
    };
    let action = raw.action.unwrap_or_default();
    if let (FailureAction::Fail, Some(breaker)) = (action, &raw.circuit_breaker) {
        let message = "a circuit breaker passes over rows, but with `action: fail` none may be";
        return Err(context
            .refuse(Code::Failures, breaker.referenced, message)
            .help("write `action: skip` or `action: dead_letter`, or leave out `circuit_breaker:`"));
    }
    let backoff = context.duration_or("backoff", &raw.backoff, MILLISECOND..=BACKOFF_MAX, BACKOFF_DEFAULT)?;
    Ok(FailureSpec {
        place,
        action,
        retries: context.number("retries", &raw.retries, 0..=RETRIES_MAX, 0)?,
        backoff,
        circuit_breaker: raw.circuit_breaker.map(|raw| circuit_breaker(context, raw.value)).transpose()?,
    })
}

fn circuit_breaker(context: &Context<'_>, raw: RawCircuitBreaker) -> Result<CircuitBreakerSpec, JobError> {
    let default = CircuitBreakerSpec::default();
    let span = |field: &str, value: &Option<Spanned<String>>, default: Duration| {
        context.duration_or(field, value, MILLISECOND..=CIRCUIT_SPAN_MAX, default)
    };
    Ok(CircuitBreakerSpec {
        failures: context.number("failures", &raw.failures, 1..=CIRCUIT_FAILURES_MAX, default.failures)?,
        within: span("within", &raw.within, default.within)?,
        open: span("open", &raw.open, default.open)?,
    })
}
