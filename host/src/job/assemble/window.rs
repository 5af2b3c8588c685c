//! Windows and triggers: which go together, and what is left out.
use std::{path::Path, time::Duration};

use serde_saphyr::{Location, Spanned};

use super::{MILLISECOND, operator::plugin};
use crate::{
    job::{
        AssignerSpec, Code, FiringSpec, JobError, SPAN_MAX, TRIGGER_COUNT_MAX, TriggerSpec, WINDOWS_PER_ROW_MAX,
        WindowSpec,
        raw::{RawFiring, RawPlugin, RawSliding, RawTrigger, RawTriggerSettings, RawTriggerWord, RawWindow},
        values::Context,
    },
    model::TimeDomain,
};

pub(super) fn window(context: &Context<'_>, raw: Spanned<RawWindow>, base: &Path) -> Result<WindowSpec, JobError> {
    let (at, raw) = (raw.referenced, raw.value);
    let assigner = assigner(context, at, &raw)?;
    let time = raw.time.unwrap_or_default();
    let lateness = match &raw.allowed_lateness {
        Some(lateness) => {
            let value = context.milliseconds("allowed_lateness", lateness, Duration::ZERO..=SPAN_MAX)?;
            if !value.is_zero() && (assigner == AssignerSpec::Global || time == TimeDomain::Processing) {
                return Err(context
                    .refuse(Code::WindowSettings, lateness.referenced, "nothing can be late for this window")
                    .help("leave out `allowed_lateness:`; only windows that end in event time have late rows"));
            }
            value
        }
        None => Duration::ZERO,
    };
    let purge = raw.purge.as_ref().is_some_and(|purge| purge.value);
    if let Some(count) = &raw.count {
        let both =
            [("trigger", raw.trigger.as_ref().map(|t| t.referenced)), ("purge", raw.purge.map(|p| p.referenced))];
        if let Some((field, location)) = both.iter().find_map(|(field, location)| Some((field, (*location)?))) {
            let message = format!("`count` says when the window fires, and so does `{field}`");
            return Err(context
                .refuse(Code::WindowSettings, location, message)
                .help("write `global: {}` in place of `count:` to choose a trigger"));
        }
        let trigger = TriggerSpec::Count(rows(context, count)?);
        return Ok(WindowSpec { assigner, time, allowed_lateness: lateness, trigger, purge: true });
    }
    let trigger = match raw.trigger {
        Some(raw) => {
            let location = raw.referenced;
            let trigger = trigger(context, raw, base)?;
            check_trigger(context, location, &trigger, assigner, time, lateness)?;
            trigger
        }
        None if assigner == AssignerSpec::Global => {
            let message = "a global window never ends, so it needs a trigger";
            return Err(context
                .refuse(Code::WindowSettings, at, message)
                .help("write `trigger:`, such as `trigger: { count: 100 }` or `trigger: { every: 1min }`"));
        }
        None if time == TimeDomain::Event => TriggerSpec::EventTime,
        None => TriggerSpec::ProcessingTime,
    };
    Ok(WindowSpec { assigner, time, allowed_lateness: lateness, trigger, purge })
}

fn assigner(context: &Context<'_>, at: Location, raw: &RawWindow) -> Result<AssignerSpec, JobError> {
    let given = [
        ("tumbling", raw.tumbling.is_some()),
        ("sliding", raw.sliding.is_some()),
        ("session", raw.session.is_some()),
        ("global", raw.global.is_some()),
        ("count", raw.count.is_some()),
    ];
    context.one_of(at, "this window", &given, "tumbling: 5s")?;
    let offset = |below: Duration| match &raw.offset {
        Some(offset) => context.milliseconds("offset", offset, Duration::ZERO..=below - MILLISECOND),
        None => Ok(Duration::ZERO),
    };
    if let Some(size) = &raw.tumbling {
        let size = context.milliseconds("tumbling", size, MILLISECOND..=SPAN_MAX)?;
        return Ok(AssignerSpec::Tumbling { size, offset: offset(size)? });
    }
    if let Some(raw) = &raw.sliding {
        let (size, slide) = sliding(context, &raw.value)?;
        return Ok(AssignerSpec::Sliding { size, slide, offset: offset(slide)? });
    }
    if let Some(offset) = &raw.offset {
        return Err(context
            .refuse(Code::WindowSettings, offset.referenced, "this window has no starts to shift")
            .help("leave out `offset:`; tumbling and sliding windows have one"));
    }
    match &raw.session {
        Some(gap) => Ok(AssignerSpec::Session { gap: context.milliseconds("session", gap, MILLISECOND..=SPAN_MAX)? }),
        None => Ok(AssignerSpec::Global),
    }
}

/// Size and slide.
fn sliding(context: &Context<'_>, raw: &RawSliding) -> Result<(Duration, Duration), JobError> {
    let slide = context.milliseconds("slide", &raw.slide, MILLISECOND..=SPAN_MAX)?;
    let size = context.milliseconds("size", &raw.size, MILLISECOND..=SPAN_MAX)?;
    if slide > size {
        return Err(context
            .refuse(Code::BadValue, raw.slide.referenced, "rows between two windows would be in none of them")
            .help("make `slide:` at most as long as `size:`"));
    }
    if size > slide * WINDOWS_PER_ROW_MAX {
        let windows = size.as_millis().div_ceil(slide.as_millis());
        let message = format!("each row would be in {windows} windows; {WINDOWS_PER_ROW_MAX} are the most");
        return Err(context
            .refuse(Code::BadValue, raw.slide.referenced, message)
            .help("make `slide:` longer, or `size:` shorter"));
    }
    Ok((size, slide))
}

fn trigger(context: &Context<'_>, raw: Spanned<RawTrigger>, base: &Path) -> Result<TriggerSpec, JobError> {
    let at = raw.referenced;
    let RawTriggerSettings { count, every, early, late, plugin: path, config } = match raw.value {
        RawTrigger::Word(RawTriggerWord::EventTime) => return Ok(TriggerSpec::EventTime),
        RawTrigger::Word(RawTriggerWord::ProcessingTime) => return Ok(TriggerSpec::ProcessingTime),
        RawTrigger::Settings(settings) => *settings,
    };
    // `early` and `late` go together, and are one choice.
    let given = [
        ("count", count.is_some()),
        ("every", every.is_some()),
        ("early", early.is_some()),
        ("late", late.is_some() && early.is_none()),
        ("plugin", path.is_some()),
    ];
    let chosen = context.one_of(at, "this trigger", &given, "count: 100")?;
    if config.is_some() && chosen != "plugin" {
        return Err(context
            .refuse(Code::UnknownField, at, "`config` is for a trigger that is a plugin")
            .help("leave it out, or write `plugin:`"));
    }
    if let Some(count) = &count {
        return Ok(TriggerSpec::Count(rows(context, count)?));
    }
    if let Some(every) = &every {
        return Ok(TriggerSpec::Every(context.milliseconds("every", every, MILLISECOND..=SPAN_MAX)?));
    }
    if let Some(path) = path {
        let raw = Spanned { value: RawPlugin { plugin: path, config }, referenced: at, defined: at };
        return Ok(TriggerSpec::Plugin(plugin(context, raw, base)?));
    }
    let firing = |raw: Option<Spanned<RawFiring>>| raw.map(|raw| firing(context, &raw)).transpose();
    Ok(TriggerSpec::EarlyLate { early: firing(early)?, late: firing(late)? })
}

fn firing(context: &Context<'_>, raw: &Spanned<RawFiring>) -> Result<FiringSpec, JobError> {
    let (every, count) = (&raw.value.every, &raw.value.count);
    let given = [("every", every.is_some()), ("count", count.is_some())];
    context.one_of(raw.referenced, "this firing", &given, "every: 10s")?;
    match (every, count) {
        (Some(every), _) => Ok(FiringSpec::Every(context.milliseconds("every", every, MILLISECOND..=SPAN_MAX)?)),
        (None, Some(count)) => Ok(FiringSpec::Count(rows(context, count)?)),
        // Refused above.
        (None, None) => Ok(FiringSpec::Count(1)),
    }
}

fn rows(context: &Context<'_>, count: &Spanned<i64>) -> Result<u64, JobError> {
    context.integer("count", count, 1..=TRIGGER_COUNT_MAX as i64).map(i64::unsigned_abs)
}

/// Whether the trigger can fire in this window.
fn check_trigger(
    context: &Context<'_>,
    at: Location,
    trigger: &TriggerSpec,
    assigner: AssignerSpec,
    time: TimeDomain,
    lateness: Duration,
) -> Result<(), JobError> {
    let (message, help) = match (trigger, time) {
        (TriggerSpec::EventTime, TimeDomain::Processing) => {
            ("the trigger goes by event time, but the window by processing time", "leave out `trigger:` or `time:`")
        }
        (TriggerSpec::ProcessingTime, TimeDomain::Event) => (
            "the trigger goes by processing time, but the window by event time",
            "write `time: processing`, or have early results: `trigger: { early: { every: 10s } }`",
        ),
        (TriggerSpec::ProcessingTime, _) if assigner == AssignerSpec::Global => {
            ("a global window has no end at which this trigger could fire", "write `trigger: { every: 1min }`")
        }
        (TriggerSpec::EarlyLate { late: Some(_), .. }, _) if lateness.is_zero() => (
            "the trigger fires for late rows, but the window takes none",
            "write `allowed_lateness:`, or leave out `late:`; only windows that end in event time have late rows",
        ),
        _ => return Ok(()),
    };
    Err(context.refuse(Code::WindowSettings, at, message).help(help))
}
