//! Operators: one step each, and whether key, window and second input go with it.
use std::path::Path;

use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::{MILLISECOND, failures::on_failure, parallelism, rules::rules, window::window};
use crate::job::{
    BATCH_TIME_MAX, CapabilitiesSpec, Code, IntervalSpec, JobError, LimitsSpec, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN,
    OUTPUTS_PER_RECORD_MAX, OperatorSpec, PluginRef, PluginSpec, RECORD_TIME_MIN, RulesSpec, SPAN_MAX, SecondSpec,
    StepSpec,
    error::list,
    raw::{RawInterval, RawLimits, RawOperator, RawPlugin},
    values::Context,
};

/// The steps there are, in the order they are looked for.
const STEPS: [&str; 9] = [
    "transform",
    "keyed_process",
    "connected_process",
    "broadcast_process",
    "aggregate",
    "process_window",
    "window_join",
    "interval_join",
    "rules",
];

/// What a step needs beside its input.
struct Needs {
    step: &'static str,
    key: bool,
    second: bool,
    broadcast: bool,
    window: bool,
}

impl Needs {
    fn of(step: &'static str) -> Needs {
        Needs {
            step,
            key: matches!(step, "keyed_process" | "connected_process" | "window_join" | "interval_join"),
            second: matches!(step, "connected_process" | "window_join" | "interval_join"),
            broadcast: step == "broadcast_process",
            window: matches!(step, "aggregate" | "process_window" | "window_join"),
        }
    }
}

pub(super) fn operator(
    context: &Context<'_>,
    at: &Spanned<String>,
    mut raw: RawOperator,
    base: &Path,
) -> Result<OperatorSpec, JobError> {
    let needs = Needs::of(only_step(context, at, &raw)?);
    check_parts(context, at, &raw, &needs)?;
    let step = step(context, &mut raw, base)?;
    let key = raw.key.map(|key| context.columns(&key)).transpose()?.unwrap_or_default();
    let own = parallelism(context, "parallelism", &raw.parallelism)?;
    if let (true, true, Some(2..), Some(value)) = (needs.window, key.is_empty(), own, &raw.parallelism) {
        let message = format!("`parallelism` is {}, but a window without key is in one subtask", value.value);
        return Err(context
            .refuse(Code::BadValue, value.referenced, message)
            .help("leave out `parallelism:`, or write `key:` with the columns whose rows belong together"));
    }
    let second = match (raw.second, raw.broadcast) {
        (Some(raw), _) => Some(SecondSpec {
            place: context.place(raw.referenced),
            inputs: context.inputs(&raw.value.input)?,
            key: context.columns(&raw.value.key)?,
        }),
        (None, Some(raw)) => Some(SecondSpec {
            place: context.place(raw.referenced),
            inputs: context.inputs(&raw.value.input)?,
            key: Vec::new(),
        }),
        (None, None) => None,
    };
    let operator = OperatorSpec {
        place: context.place(at.referenced),
        inputs: context.inputs(&raw.input)?,
        key,
        second,
        window: raw.window.map(|raw| window(context, raw, base)).transpose()?,
        step,
        parallelism: own,
        uid: raw.uid.map(|uid| uid.value),
        chain: raw.chain.unwrap_or(true),
        on_error: raw.on_error.unwrap_or_default(),
        on_failure: raw.on_failure.map(|raw| on_failure(context, raw)).transpose()?.unwrap_or_default(),
        limits: raw.limits.map(|raw| limits(context, raw.value)).transpose()?.unwrap_or_default(),
        capabilities: raw.capabilities.map(|raw| capabilities(context, &raw)).transpose()?.unwrap_or_default(),
    };
    match raw.rules {
        Some(raw_rules) => {
            let step = StepSpec::Rules(rules(context, &operator, raw_rules, raw.output, base)?);
            Ok(OperatorSpec { step, ..operator })
        }
        None => Ok(operator),
    }
}

/// The operator's step; of an aggregate whose results go to a `process_window`, the aggregate.
fn only_step(context: &Context<'_>, at: &Spanned<String>, raw: &RawOperator) -> Result<&'static str, JobError> {
    let place = |plugin: &Option<Spanned<RawPlugin>>| plugin.as_ref().map(|plugin| plugin.referenced);
    let places = [
        place(&raw.transform),
        place(&raw.keyed_process),
        place(&raw.connected_process),
        place(&raw.broadcast_process),
        place(&raw.aggregate),
        place(&raw.process_window),
        raw.window_join.as_ref().map(|join| join.referenced),
        raw.interval_join.as_ref().map(|join| join.referenced),
        raw.rules.as_ref().map(|rules| rules.referenced),
    ];
    let given: Vec<(&str, Location)> =
        STEPS.iter().zip(places).filter_map(|(step, location)| Some((*step, location?))).collect();
    match given.as_slice() {
        [(step, _)] | [(step @ "aggregate", _), ("process_window", _)] => Ok(step),
        [(first, _), (second, location), ..] => {
            let message = format!("operator `{}` has both `{first}` and `{second}`", at.value);
            Err(context.refuse(Code::Step, *location, message).help("make it two operators"))
        }
        [] => {
            let message = format!("operator `{}` runs nothing", at.value);
            let help = format!("write one of {}, such as `transform: {{ plugin: ... }}`", list(&STEPS));
            Err(context.refuse(Code::Step, at.referenced, message).help(help))
        }
    }
}

/// Whether key, window, second input and limits are there exactly where the step has use for them.
fn check_parts(context: &Context<'_>, at: &Spanned<String>, raw: &RawOperator, needs: &Needs) -> Result<(), JobError> {
    let step = needs.step;
    let missing = |code: Code, field: &str, help: &str| {
        let message = format!("operator `{}` has `{step}`, but no `{field}`", at.value);
        Err(context.refuse(code, at.referenced, message).help(help))
    };
    let useless = |code: Code, location: Location, field: &str, help: &str| {
        let message = format!("operator `{}` has `{field}`, but `{step}` has no use for it", at.value);
        Err(context.refuse(code, location, message).help(help))
    };
    if needs.window && raw.window.is_none() {
        return missing(Code::Window, "window", "write `window: { tumbling: 5s }`");
    }
    if needs.key && raw.key.is_none() {
        return missing(Code::Window, "key", "write `key:` with the columns whose rows belong together");
    }
    if needs.second && raw.second.is_none() {
        return missing(Code::SecondInput, "second", "write `second: { input: refunds, key: order }`");
    }
    if needs.broadcast && raw.broadcast.is_none() {
        return missing(Code::SecondInput, "broadcast", "write `broadcast: { input: rules }`");
    }
    if let (Some(on_failure), true) = (&raw.on_failure, step.ends_with("_join")) {
        let help = "leave out `on_failure:`: no plugin runs";
        return useless(Code::Window, on_failure.referenced, "on_failure", help);
    }
    if let (Some(limits), true) = (&raw.limits, step.ends_with("_join")) {
        return useless(Code::Window, limits.referenced, "limits", "leave out `limits:`: no plugin runs");
    }
    if let (Some(capabilities), true) = (&raw.capabilities, step.ends_with("_join")) {
        let help = "leave out `capabilities:`: no plugin runs";
        return useless(Code::Window, capabilities.referenced, "capabilities", help);
    }
    if let (Some(output), false) = (&raw.output, step == "rules") {
        let help = "leave out `output:`: its columns are those its plugin writes";
        return useless(Code::Window, output.referenced, "output", help);
    }
    match (&raw.window, &raw.second, &raw.broadcast) {
        (Some(window), ..) if !needs.window => {
            let help = "leave out `window:`, or write `aggregate:`, `process_window:` or `window_join:`";
            useless(Code::Window, window.referenced, "window", help)
        }
        (Some(window), ..) if step == "window_join" => {
            let value = &window.value;
            let never = value.global.is_some() || value.count.is_some();
            if never || value.trigger.is_some() || value.purge.is_some() || value.allowed_lateness.is_some() {
                let message = "a join's window has a time or session, and fires once at its end";
                let help = "write `window: { tumbling: 5s }`, `sliding` or `session`, with `offset` and `time` only";
                return Err(context.refuse(Code::WindowSettings, window.referenced, message).help(help));
            }
            Ok(())
        }
        (_, Some(second), _) if !needs.second => {
            let help =
                "read both as one, `input: [a, b]`, or use `connected_process`, `window_join` or `interval_join`";
            useless(Code::SecondInput, second.referenced, "second", help)
        }
        (_, _, Some(broadcast)) if !needs.broadcast => {
            let help = "leave out `broadcast:`, or use `broadcast_process`";
            useless(Code::SecondInput, broadcast.referenced, "broadcast", help)
        }
        _ => Ok(()),
    }
}

/// Rules are not among them yet: they are made once the rest of their operator is known.
fn step(context: &Context<'_>, raw: &mut RawOperator, base: &Path) -> Result<StepSpec, JobError> {
    let plugin = |raw: Spanned<RawPlugin>| plugin(context, raw, base);
    if raw.rules.is_some() {
        return Ok(StepSpec::Rules(RulesSpec::default()));
    }
    if let Some(raw) = raw.transform.take() {
        return Ok(StepSpec::Transform(plugin(raw)?));
    }
    if let Some(raw) = raw.keyed_process.take() {
        return Ok(StepSpec::KeyedProcess(plugin(raw)?));
    }
    if let Some(raw) = raw.connected_process.take() {
        return Ok(StepSpec::ConnectedProcess(plugin(raw)?));
    }
    if let Some(raw) = raw.broadcast_process.take() {
        return Ok(StepSpec::BroadcastProcess(plugin(raw)?));
    }
    if let Some(raw) = raw.interval_join.take() {
        return Ok(StepSpec::IntervalJoin(interval(context, &raw)?));
    }
    match (raw.aggregate.take(), raw.process_window.take()) {
        (Some(aggregate), Some(process)) => {
            Ok(StepSpec::AggregateProcess { aggregate: plugin(aggregate)?, process: plugin(process)? })
        }
        (Some(aggregate), None) => Ok(StepSpec::Aggregate(plugin(aggregate)?)),
        (None, Some(process)) => Ok(StepSpec::ProcessWindow(plugin(process)?)),
        // One step is there, and all others were looked for.
        (None, None) => Ok(StepSpec::WindowJoin),
    }
}

fn interval(context: &Context<'_>, raw: &Spanned<RawInterval>) -> Result<IntervalSpec, JobError> {
    let lower_ms = context.signed_milliseconds("lower", &raw.value.lower, SPAN_MAX)?;
    let upper_ms = context.signed_milliseconds("upper", &raw.value.upper, SPAN_MAX)?;
    if lower_ms > upper_ms {
        let message = format!("`lower: {}` is after `upper: {}`", raw.value.lower.value, raw.value.upper.value);
        return Err(context
            .refuse(Code::BadValue, raw.value.lower.referenced, message)
            .help("write the earlier bound first, such as `{ lower: -5min, upper: 5min }`"));
    }
    Ok(IntervalSpec { lower_ms, upper_ms })
}

pub(super) fn plugin(context: &Context<'_>, raw: Spanned<RawPlugin>, base: &Path) -> Result<PluginSpec, JobError> {
    let path = &raw.value.plugin;
    if path.value.is_empty() {
        return Err(context
            .refuse(Code::BadValue, path.referenced, "`plugin` is empty")
            .help("write the path of a crate's folder or of a `.wasm` file, or `name@version` of an uploaded one"));
    }
    let plugin = PluginRef::uploaded(&path.value).unwrap_or_else(|| PluginRef::Path(base.join(&path.value)));
    Ok(PluginSpec { plugin, place: context.place(raw.referenced), config: raw.value.config.unwrap_or_default() })
}

/// One, or several.
pub(super) fn capabilities(context: &Context<'_>, raw: &Spanned<Value>) -> Result<CapabilitiesSpec, JobError> {
    let mut granted = CapabilitiesSpec::default();
    let refuse = |message: String| {
        Err(context
            .refuse(Code::Capability, raw.referenced, message)
            .help("there are `clocks` and `randomness`: write `capabilities: [clocks]`, or leave it out"))
    };
    for one in raw.value.as_array().map_or(std::slice::from_ref(&raw.value), Vec::as_slice) {
        match one.as_str() {
            Some("clocks") => granted.clocks = true,
            Some("randomness") => granted.randomness = true,
            Some("network") => return refuse("this host cannot grant `network` yet".to_owned()),
            None if one.get("network").is_some() => return refuse("this host cannot grant `network` yet".to_owned()),
            _ => return refuse(format!("there is no capability {one}")),
        }
    }
    Ok(granted)
}

pub(super) fn limits(context: &Context<'_>, raw: RawLimits) -> Result<LimitsSpec, JobError> {
    let mut limits = LimitsSpec::default();
    if let Some(memory) = &raw.memory {
        limits.memory = context.size("memory", memory, MEMORY_BYTES_MIN..=MEMORY_BYTES_MAX)?;
    }
    limits.retire_memory = match &raw.retire_memory {
        Some(retire) => context.size("retire_memory", retire, 1..=limits.memory)?,
        None => limits.memory / 2,
    };
    limits.batch_time =
        context.duration_or("batch_time", &raw.batch_time, MILLISECOND..=BATCH_TIME_MAX, limits.batch_time)?;
    let outputs = &raw.outputs_per_record;
    limits.outputs_per_record =
        context.number("outputs_per_record", outputs, 1..=OUTPUTS_PER_RECORD_MAX, limits.outputs_per_record)?;
    if let Some(time) = &raw.record_time {
        limits.record_time = Some(context.duration("record_time", time, RECORD_TIME_MIN..=BATCH_TIME_MAX)?);
    }
    if let Some(state) = &raw.state_per_key {
        limits.state_per_key = Some(context.size("state_per_key", state, 1..=MEMORY_BYTES_MAX)?);
    }
    Ok(limits)
}
