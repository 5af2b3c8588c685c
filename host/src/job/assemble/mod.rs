//! The YAML's shape into a [`JobSpec`]: ranges, names and what excludes what. Looks at each part of the job by itself; how the
//! parts fit together is the plan's business.
mod failures;
mod operator;
mod rules;
mod settings;
mod window;

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_saphyr::Spanned;

use failures::on_failure;
use operator::{capabilities, limits, operator, plugin};

pub(super) use rules::rule_settings;

use super::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BatchSpec, Code, ColumnRef, FLUSH_MAX, JobError, JobSpec, OperatorSpec, Place,
    RestartStrategy, SPAN_MAX, SinkSpec, SourceSpec, TimeSpec, Variables,
    error::{list, suggest},
    load::JobDefaults,
    raw::{Named, RawBatch, RawJob, RawOperator, RawSink, RawSource, RawTime, SINK_FIELDS, SOURCE_FIELDS},
    values::Context,
};
use crate::{
    codec::Format,
    connector::{SINKS, SOURCES, Source},
    model::{MAX_PARALLELISM_DEFAULT, MAX_PARALLELISM_LIMIT},
};

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn assemble(
    raw: RawJob,
    context: &Context<'_>,
    base: &Path,
    defaults: JobDefaults,
) -> Result<JobSpec, JobError> {
    let missing = |field: &str, example: &str| {
        // The YAML reader knows no place for what is not there; the file's first line is as good as any.
        let place = Place { line: 1, column: 1 };
        JobError::new(Code::MissingField, context.file, place, format!("the field `{field}` is missing or empty"))
            .help(format!("write `{field}: {example}`"))
    };
    let name = context.name(raw.name.as_ref().ok_or_else(|| missing("name", "my-job"))?)?;
    let sources = raw.sources.filter(|sources| !sources.0.is_empty());
    let sources = sources.ok_or_else(|| missing("sources", "{ lines: { file: { path: in.txt } } }"))?;
    let sinks = raw.sinks.filter(|sinks| !sinks.0.is_empty());
    let sinks = sinks.ok_or_else(|| missing("sinks", "{ out: { input: lines, print: {} } }"))?;
    let operators = raw.operators.unwrap_or(Named(Vec::new()));
    check_names(&sources, &operators, &sinks, context)?;
    let max_parallelism =
        parallelism(context, "max_parallelism", &raw.max_parallelism)?.unwrap_or(MAX_PARALLELISM_DEFAULT);
    let job_parallelism = parallelism(context, "parallelism", &raw.parallelism)?.unwrap_or(1);
    let operators = named(operators, |at, raw| operator(context, at, raw, base))?;
    operators
        .iter()
        .try_for_each(|(name, operator)| check_key_groups(context, name, operator, job_parallelism, max_parallelism))?;
    let checkpoints = raw.checkpoints.map(|raw| settings::checkpoints(context, raw, base)).transpose()?;
    let checkpoints = checkpoints.or(defaults.checkpoints);
    let restart = raw.restart.map(|raw| settings::restart(context, raw)).transpose()?;
    Ok(JobSpec {
        file: context.file.into(),
        name,
        parallelism: job_parallelism,
        max_parallelism,
        batch: raw.batch.map(|raw| batch(context, raw)).transpose()?.unwrap_or_default(),
        state: raw.state.map(|raw| settings::state(context, raw, base)).transpose()?.unwrap_or_default(),
        sources: named(sources, |at, raw| source(context, at, raw, base, checkpoints.is_some()))?,
        operators,
        sinks: named(sinks, |at, raw| sink(context, at, raw, base))?,
        variables: Variables::default(),
        restart: restart.unwrap_or(match checkpoints {
            Some(_) => RestartStrategy::exponential_delay(),
            None => RestartStrategy::None,
        }),
        checkpoints,
        savepoints: raw
            .savepoints
            .map(|path| context.path("savepoints", &path, base))
            .transpose()?
            .or(defaults.savepoints),
    })
}

/// Keys are spread in groups: no subtask may be without one.
fn check_key_groups(
    context: &Context<'_>,
    name: &str,
    operator: &OperatorSpec,
    job_parallelism: u32,
    max_parallelism: u32,
) -> Result<(), JobError> {
    let own = operator.parallelism.unwrap_or(job_parallelism);
    if operator.key.is_empty() || own <= max_parallelism {
        return Ok(());
    }
    let message =
        format!("the keyed operator `{name}` has parallelism {own}, above `max_parallelism: {max_parallelism}`");
    Err(JobError::new(Code::BadValue, context.file, operator.place, message)
        .help("lower its `parallelism:`; max_parallelism can be raised only while the job has no state"))
}

fn named<T, U>(
    raw: Named<T>,
    one: impl Fn(&Spanned<String>, T) -> Result<U, JobError>,
) -> Result<indexmap::IndexMap<String, U>, JobError> {
    raw.0.into_iter().map(|(name, part)| Ok((name.value.clone(), one(&name, part)?))).collect()
}

/// Names of sources, operators and sinks are well-formed and distinct, and so are their uids.
fn check_names(
    sources: &Named<RawSource>,
    operators: &Named<RawOperator>,
    sinks: &Named<RawSink>,
    context: &Context<'_>,
) -> Result<(), JobError> {
    let parts: Vec<(&Spanned<String>, Option<&Spanned<String>>)> = (sources.0.iter())
        .map(|(name, source)| (name, source.uid.as_ref()))
        .chain(operators.0.iter().map(|(name, operator)| (name, operator.uid.as_ref())))
        .chain(sinks.0.iter().map(|(name, sink)| (name, sink.uid.as_ref())))
        .collect();
    let (mut names, mut uids) = (BTreeMap::new(), BTreeMap::new());
    for (name, uid) in parts {
        context.name(name)?;
        if let Some(first) = names.insert(&name.value, name.referenced) {
            let line = context.place(first).line;
            let message = format!("`{}` is given twice, first in line {line}", name.value);
            return Err(context
                .refuse(Code::Duplicate, name.referenced, message)
                .help("sources, operators and sinks share their names: choose another"));
        }
        let uid = uid.unwrap_or(name);
        context.name(uid)?;
        if let Some(first) = uids.insert(&uid.value, &name.value) {
            let message = format!("`{first}` and `{}` have the same uid `{}`", name.value, uid.value);
            return Err(context
                .refuse(Code::Duplicate, uid.referenced, message)
                .help("state is found by uid: choose another; where there is none, the name is the uid"));
        }
    }
    Ok(())
}

fn parallelism(context: &Context<'_>, field: &str, value: &Option<Spanned<i64>>) -> Result<Option<u32>, JobError> {
    let limit = i64::from(MAX_PARALLELISM_LIMIT);
    let value = value.as_ref().map(|value| context.integer(field, value, 1..=limit)).transpose()?;
    Ok(value.and_then(|value| u32::try_from(value).ok()))
}

fn batch(context: &Context<'_>, raw: RawBatch) -> Result<BatchSpec, JobError> {
    let mut batch = BatchSpec::default();
    if let Some(records) = &raw.records {
        batch.records = context.integer("records", records, 1..=BATCH_RECORDS_MAX as i64)? as usize;
    }
    if let Some(bytes) = &raw.bytes {
        batch.bytes = context.size("bytes", bytes, 1..=BATCH_BYTES_MAX)?;
    }
    if let Some(flush) = &raw.flush {
        batch.flush = context.duration("flush", flush, Duration::ZERO..=FLUSH_MAX)?;
    }
    Ok(batch)
}

fn source(
    context: &Context<'_>,
    at: &Spanned<String>,
    raw: RawSource,
    base: &Path,
    checkpoints: bool,
) -> Result<SourceSpec, JobError> {
    refuse_unknown(context, raw.unknown.as_ref(), &SOURCE_FIELDS, SOURCES, "source")?;
    let (kind, mut connector) = only_connector(context, at, raw.connectors, SOURCES, "source")?;
    connector.resolve_paths(base);
    match (connector.can_replay(), &raw.delivery) {
        (false, None) if checkpoints => {
            let message =
                format!("source `{}` cannot read its records again after a failure: `{kind}` loses them", at.value);
            return Err(context.refuse(Code::Delivery, at.referenced, message).help(
                "write `delivery: at_most_once` if that may be, or read from a connector that can, such as `file`",
            ));
        }
        (true, Some(delivery)) => {
            let message = format!("source `{}` loses nothing: `{kind}` can read its records again", at.value);
            return Err(context
                .refuse(Code::Delivery, delivery.referenced, message)
                .help("leave out `delivery: at_most_once`"));
        }
        _ => {}
    }
    let metadata = metadata(context, &kind, &*connector, raw.metadata)?;
    let mut format = raw.format.unwrap_or(Format::Text);
    format.resolve_paths(base);
    Ok(SourceSpec {
        place: context.place(at.referenced),
        kind,
        connector: connector.into(),
        format,
        schema: raw.schema.map(|schema| context.schema(&schema)).transpose()?,
        inferred: None,
        metadata,
        time: raw.time.map(|raw| time(context, raw)).transpose()?.unwrap_or_default(),
        on_error: raw.on_error.unwrap_or_default(),
        at_most_once: raw.delivery.is_some(),
        parallelism: parallelism(context, "parallelism", &raw.parallelism)?,
        uid: raw.uid.map(|uid| uid.value),
    })
}

/// Columns of what a source knows of its records, each with its place among what there is.
fn metadata(
    context: &Context<'_>,
    kind: &str,
    connector: &dyn Source,
    raw: Option<Named<Spanned<String>>>,
) -> Result<Vec<(ColumnRef, usize)>, JobError> {
    let known = connector.metadata();
    let mut columns = Vec::new();
    for (column, wanted) in raw.into_iter().flat_map(|raw| raw.0) {
        let Some(index) = known.iter().position(|field| field.name == wanted.value) else {
            let message = format!("`{kind}` knows nothing called `{}` of a record", wanted.value);
            let help = suggest(&wanted.value, known.iter().map(|field| field.name), "what it knows");
            return Err(context.refuse(Code::UnknownField, wanted.referenced, message).help(help));
        };
        columns.push((ColumnRef { place: context.place(column.referenced), name: column.value }, index));
    }
    Ok(columns)
}

fn sink(context: &Context<'_>, at: &Spanned<String>, raw: RawSink, base: &Path) -> Result<SinkSpec, JobError> {
    refuse_unknown(context, raw.unknown.as_ref(), &SINK_FIELDS, SINKS, "sink")?;
    let (kind, mut connector) = only_connector(context, at, raw.connectors, SINKS, "sink")?;
    connector.resolve_paths(base);
    let Some(input) = &raw.input else {
        let message = format!("sink `{}` has no `input`", at.value);
        return Err(context
            .refuse(Code::MissingField, at.referenced, message)
            .help("write `input:` with the name of a source or operator"));
    };
    let for_plugin = [
        ("on_error", raw.on_error.as_ref().map(|on_error| on_error.referenced)),
        ("on_failure", raw.on_failure.as_ref().map(|on_failure| on_failure.referenced)),
        ("limits", raw.limits.as_ref().map(|limits| limits.referenced)),
        ("capabilities", raw.capabilities.as_ref().map(|capabilities| capabilities.referenced)),
    ];
    for (field, location) in for_plugin {
        if let (Some(location), None) = (location, &raw.plugin) {
            let message = format!("sink `{}` has `{field}`, but no plugin", at.value);
            return Err(context
                .refuse(Code::Window, location, message)
                .help(format!("leave out `{field}:`, or write `sink: {{ plugin: ... }}`")));
        }
    }
    Ok(SinkSpec {
        place: context.place(at.referenced),
        inputs: context.inputs(input)?,
        kind,
        connector: connector.into(),
        plugin: raw.plugin.map(|raw| plugin(context, raw, base)).transpose()?,
        on_error: raw.on_error.map(|on_error| on_error.value).unwrap_or_default(),
        on_failure: raw.on_failure.map(|raw| on_failure(context, raw)).transpose()?.unwrap_or_default(),
        limits: raw.limits.map(|raw| limits(context, raw.value)).transpose()?.unwrap_or_default(),
        capabilities: raw.capabilities.map(|raw| capabilities(context, &raw)).transpose()?.unwrap_or_default(),
        format: raw.format.unwrap_or(Format::Json),
        columns: raw.columns.map(|columns| context.columns(&columns)).transpose()?,
        parallelism: parallelism(context, "parallelism", &raw.parallelism)?,
        uid: raw.uid.map(|uid| uid.value),
    })
}

fn refuse_unknown(
    context: &Context<'_>,
    unknown: Option<&Spanned<String>>,
    fields: &[&str],
    connectors: &[&str],
    what: &str,
) -> Result<(), JobError> {
    let Some(field) = unknown else { return Ok(()) };
    let help = suggest(&field.value, fields.iter().chain(connectors).copied(), "fields and connectors here");
    let message = format!("unknown field or connector `{}` in a {what}", field.value);
    Err(context.refuse(Code::UnknownField, field.referenced, message).help(help))
}

fn only_connector<T>(
    context: &Context<'_>,
    at: &Spanned<String>,
    mut connectors: Vec<(Spanned<String>, T)>,
    known: &[&str],
    what: &str,
) -> Result<(String, T), JobError> {
    match (connectors.pop(), connectors.pop()) {
        (Some((kind, connector)), None) => Ok((kind.value, connector)),
        (Some((second, _)), Some((first, _))) => {
            let message = format!("{what} `{}` has two connectors, `{}` and `{}`", at.value, first.value, second.value);
            Err(context.refuse(Code::Connector, second.referenced, message).help(format!("make it two {what}s")))
        }
        (None, _) => {
            let message = format!("{what} `{}` has no connector", at.value);
            let help = format!("write one of {}, such as `{}: {{...}}`", list(known), known.first().unwrap_or(&""));
            Err(context.refuse(Code::Connector, at.referenced, message).help(help))
        }
    }
}

fn time(context: &Context<'_>, raw: RawTime) -> Result<TimeSpec, JobError> {
    if let (Some(drift), None) = (&raw.drift, &raw.idle) {
        let message = "`drift` without `idle`: a split without records would keep all others waiting for ever";
        let help = "write `idle:` as well, such as `time: { idle: 10s, drift: 1min }`";
        return Err(context.refuse(Code::BadValue, drift.referenced, message).help(help));
    }
    let (order, idle, drift) = (&raw.out_of_orderness, &raw.idle, &raw.drift);
    Ok(TimeSpec {
        column: raw.column.map(|column| ColumnRef { place: context.place(column.referenced), name: column.value }),
        out_of_orderness: order
            .as_ref()
            .map(|value| context.milliseconds("out_of_orderness", value, Duration::ZERO..=SPAN_MAX))
            .transpose()?
            .unwrap_or_default(),
        drift: drift.as_ref().map(|value| context.duration("drift", value, MILLISECOND..=SPAN_MAX)).transpose()?,
        idle: idle.as_ref().map(|value| context.duration("idle", value, MILLISECOND..=SPAN_MAX)).transpose()?,
    })
}
