//! Reading job files: windows and triggers.
use std::time::Duration;

use super::{check_refused, read, with};
use crate::{
    job::{AssignerSpec, FiringSpec, PluginRef, TriggerSpec, WindowSpec},
    model::TimeDomain,
};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn window(text: &str) -> WindowSpec {
    let text = with("window: { tumbling: 5s }", &format!("window: {{ {text} }}"));
    read(&text).unwrap_or_else(|error| panic!("{error}")).operators["counts"].window.clone().unwrap()
}

#[test]
fn windows_are_of_five_kinds_each_with_its_own_trigger() {
    let (event, processing) = (TimeDomain::Event, TimeDomain::Processing);
    let (size, slide) = (seconds(3600), seconds(300));
    for (text, assigner, time, trigger, purge) in [
        (
            "tumbling: 1h, offset: 5min",
            AssignerSpec::Tumbling { size, offset: seconds(300) },
            event,
            TriggerSpec::EventTime,
            false,
        ),
        (
            "sliding: { size: 1h, slide: 5min }, offset: 1s, time: processing",
            AssignerSpec::Sliding { size, slide, offset: seconds(1) },
            processing,
            TriggerSpec::ProcessingTime,
            false,
        ),
        ("session: 5min", AssignerSpec::Session { gap: seconds(300) }, event, TriggerSpec::EventTime, false),
        ("count: 100", AssignerSpec::Global, event, TriggerSpec::Count(100), true),
        ("global: {}, trigger: event_time", AssignerSpec::Global, event, TriggerSpec::EventTime, false),
        ("global: {}, trigger: { count: 3 }, purge: true", AssignerSpec::Global, event, TriggerSpec::Count(3), true),
    ] {
        let found = window(text);
        assert_eq!(
            (found.assigner, found.time, found.trigger, found.purge),
            (assigner, time, trigger, purge),
            "{text}"
        );
        assert_eq!(found.allowed_lateness, Duration::ZERO, "{text}");
    }
    assert_eq!(window("session: 5s, allowed_lateness: 1min").allowed_lateness, seconds(60));
}

#[test]
fn triggers_fire_early_late_often_or_as_a_plugin_decides() {
    let early_late = |early, late| TriggerSpec::EarlyLate { early, late };
    for (text, trigger) in [
        ("event_time", TriggerSpec::EventTime),
        ("{ every: 1min }", TriggerSpec::Every(seconds(60))),
        ("{ early: { every: 10s } }", early_late(Some(FiringSpec::Every(seconds(10))), None)),
        ("{ late: { every: 1s } }", early_late(None, Some(FiringSpec::Every(seconds(1))))),
        (
            "{ early: { count: 100 }, late: { count: 1 } }",
            early_late(Some(FiringSpec::Count(100)), Some(FiringSpec::Count(1))),
        ),
    ] {
        let found = window(&format!("tumbling: 5s, allowed_lateness: 1s, trigger: {text}"));
        assert_eq!(found.trigger, trigger, "{text}");
    }
    let found = window("tumbling: 5s, trigger: { plugin: ../when, config: { a: 1 } }");
    let TriggerSpec::Plugin(plugin) = found.trigger else { panic!("no plugin") };
    assert_eq!(plugin.plugin, PluginRef::Path("/jobs/../when".into()));
    assert_eq!(plugin.config["a"].as_i64(), Some(1));
    assert_eq!((plugin.place.line, plugin.place.column), (7, 71));
}

#[test]
fn windows_that_make_no_sense_are_refused() {
    check_refused(&[
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, session: 1s }",
            r#"error[J0112]: this window has `tumbling` and `session` at once
  --> job.yaml:7:46
   = help: choose one of them"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { session: 5s, offset: 1s }",
            r#"error[J0217]: this window has no starts to shift
  --> job.yaml:7:69
   = help: leave out `offset:`; tumbling and sliding windows have one"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { sliding: { size: 1d, slide: 1s } }",
            r#"error[J0107]: each row would be in 86400 windows; 4096 are the most
  --> job.yaml:7:76
   = help: make `slide:` longer, or `size:` shorter"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { sliding: { size: 1d } }",
            r#"error[J0105]: the field `slide` is missing
  --> job.yaml:7:59
   = help: add `slide:`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { count: 0 }",
            r#"error[J0107]: `count` is 0, but must be from 1 to 1099511627776
  --> job.yaml:7:55"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { count: 3, purge: true }",
            r#"error[J0217]: `count` says when the window fires, and so does `purge`
  --> job.yaml:7:65
   = help: write `global: {}` in place of `count:` to choose a trigger"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { global: {} }",
            r#"error[J0217]: a global window never ends, so it needs a trigger
  --> job.yaml:7:46
   = help: write `trigger:`, such as `trigger: { count: 100 }` or `trigger: { every: 1min }`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { count: 5, allowed_lateness: 5s }",
            r#"error[J0217]: nothing can be late for this window
  --> job.yaml:7:76
   = help: leave out `allowed_lateness:`; only windows that end in event time have late rows"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { global: { size: 1 } }",
            r#"error[J0104]: unknown field `size`
  --> job.yaml:7:58
   = help: there are no fields here"#,
        ),
    ]);
}

#[test]
fn triggers_that_could_not_fire_are_refused() {
    check_refused(&[
        (
            "window: { tumbling: 5s }",
            "window: { global: {}, trigger: processing_time, time: processing }",
            r#"error[J0217]: a global window has no end at which this trigger could fire
  --> job.yaml:7:69
   = help: write `trigger: { every: 1min }`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: event_time, time: processing }",
            r#"error[J0217]: the trigger goes by event time, but the window by processing time
  --> job.yaml:7:71
   = help: leave out `trigger:` or `time:`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: processing_time }",
            r#"error[J0217]: the trigger goes by processing time, but the window by event time
  --> job.yaml:7:71
   = help: write `time: processing`, or have early results: `trigger: { early: { every: 10s } }`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: wall }",
            r#"error[J0107]: `wall` is not possible here
  --> job.yaml:7:62
   = help: the possible values are `event_time` and `processing_time`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: 5 }",
            r#"error[J0106]: this must be `event_time`, `processing_time` or a map such as { count: 100 }, not integer `5`
  --> job.yaml:7:62"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: {} }",
            r#"error[J0112]: this trigger has none of `count`, `every`, `early`, `late` and `plugin`
  --> job.yaml:7:71
   = help: write one, such as `count: 100`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: { count: 1, every: 5s } }",
            r#"error[J0112]: this trigger has `count` and `every` at once
  --> job.yaml:7:71
   = help: choose one of them"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: { counts: 1 } }",
            r#"error[J0104]: unknown field `counts`
  --> job.yaml:7:73
   = help: did you mean `count`?"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: { early: {} } }",
            r#"error[J0112]: this firing has none of `every` and `count`
  --> job.yaml:7:80
   = help: write one, such as `every: 10s`"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: { late: { count: 1 } } }",
            r#"error[J0217]: the trigger fires for late rows, but the window takes none
  --> job.yaml:7:71
   = help: write `allowed_lateness:`, or leave out `late:`; only windows that end in event time have late rows"#,
        ),
        (
            "window: { tumbling: 5s }",
            "window: { tumbling: 5s, trigger: { count: 1, config: {} } }",
            r#"error[J0104]: `config` is for a trigger that is a plugin
  --> job.yaml:7:71
   = help: leave it out, or write `plugin:`"#,
        ),
    ]);
}
