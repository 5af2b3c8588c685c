//! What is said of failed calls and of what calls may cost: how it is read, and what is refused.
use std::time::Duration;

use super::{
    check_refused,
    plugins::{OUT, PAID, job, planned},
    read, with,
};
use crate::job::{CircuitBreakerSpec, FailureAction, FailureSpec, LimitsSpec};

/// The operator `words` with these fields besides.
fn words(fields: &str) -> (FailureSpec, LimitsSpec) {
    let spec = read(&with("{ plugin: ../plugins/words }", &format!("{{ plugin: a }}{fields}"))).unwrap();
    (spec.operators["words"].on_failure, spec.operators["words"].limits)
}

#[test]
fn an_action_alone_and_all_settings_are_understood() {
    let default = FailureSpec::default();
    assert_eq!(words("").0, default);
    let (skip, _) = words(", on_failure: skip");
    assert_eq!(FailureSpec { place: default.place, ..skip }, FailureSpec { action: FailureAction::Skip, ..default });
    let (all, _) = words(
        ", on_failure: { action: dead_letter, retries: 3, backoff: 1s, circuit_breaker: { failures: 7, within: 2min, open: 3s } }",
    );
    let seconds = Duration::from_secs;
    let breaker = CircuitBreakerSpec { failures: 7, within: seconds(120), open: seconds(3) };
    let expected = FailureSpec {
        place: all.place,
        action: FailureAction::DeadLetter,
        retries: 3,
        backoff: seconds(1),
        circuit_breaker: Some(breaker),
    };
    assert_eq!(all, expected);
    let (_, limits) = words(", limits: { outputs_per_record: 9, record_time: 10us, state_per_key: 1KiB }");
    let expected = LimitsSpec {
        outputs_per_record: 9,
        record_time: Some(Duration::from_micros(10)),
        state_per_key: Some(1024),
        ..LimitsSpec::default()
    };
    assert_eq!(limits, expected);
}

#[test]
fn what_does_not_go_together_is_refused() {
    check_refused(&[
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, on_failure: { circuit_breaker: {} }",
            r#"error[J0218]: a circuit breaker passes over rows, but with `action: fail` none may be
  --> job.yaml:6:83
   = help: write `action: skip` or `action: dead_letter`, or leave out `circuit_breaker:`"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, on_failure: { retries: 101 }",
            r#"error[J0107]: `retries` is 101, but must be from 0 to 100
  --> job.yaml:6:75"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, limits: { record_time: 2h }",
            r#"error[J0107]: `record_time` is 2h, but must be from 1us to 1h
  --> job.yaml:6:75"#,
        ),
        (
            "print: {}",
            "print: {}, on_failure: skip",
            r#"error[J0204]: sink `out` has `on_failure`, but no plugin
  --> job.yaml:9:48
   = help: leave out `on_failure:`, or write `sink: { plugin: ... }`"#,
        ),
    ]);
}

#[test]
fn dead_letters_must_be_read() {
    let large = "x: { input: paid, transform: { plugin: large }, on_failure: dead_letter }";
    let read = "out: { input: x, print: {} }\ndead: { input: x.rejected, print: {} }";
    let refused = |operators: &str, sinks: &str| planned(&job(PAID, operators, sinks)).unwrap_err().to_string();
    planned(&job(PAID, large, read)).unwrap();
    planned(&job(PAID, &large.replace("dead_letter", "skip"), OUT)).unwrap();
    assert_eq!(
        refused(large, OUT),
        r#"error[J0218]: nothing reads the dead letters of `x`
  --> job.yaml:5:63
   = help: read `x.rejected`, such as in a sink, or write `on_failure: skip`"#
    );
    assert_eq!(
        refused("", "out: { input: paid, print: {}, sink: { plugin: lines }, on_failure: dead_letter, format: text }"),
        r#"error[J0218]: sink `out` has no output for dead letters
  --> job.yaml:6:71
   = help: write `on_failure: skip`, or have an operator before the sink do what may fail"#
    );
}
