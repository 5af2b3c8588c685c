//! The latest log lines of each job, kept in memory: a layer of the subscriber that knows a job's tasks by the span they run in. Bounded
//! in lines and bytes. Must not know where else lines go.
use std::{
    collections::{HashMap, VecDeque},
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use schemars::JsonSchema;
use serde::Serialize;
use tracing::{
    Event, Level, Span, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::model::Clock;

/// Lines kept of a job.
pub const LOG_LINES_MAX: usize = 1000;

/// Bytes kept of a line.
pub const LOG_LINE_BYTES_MAX: usize = 4096;

/// The span of a job's tasks.
const SPAN: &str = "job";

/// A line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogLine {
    /// When, in ms since 1970-01-01 UTC.
    pub time_ms: i64,
    /// `ERROR`, `WARN` or `INFO`.
    pub level: &'static str,
    /// The module that says it; `guest` for plugins.
    pub target: String,
    /// What it says, with its fields.
    pub message: String,
}

/// The latest lines of each job. Clones share. To be made a layer of the subscriber.
#[derive(Clone)]
pub struct JobLogs {
    jobs: Arc<Mutex<HashMap<String, VecDeque<LogLine>>>>,
    clock: Arc<dyn Clock>,
}

/// On a job's span: its id.
struct JobTag(String);

/// The span for a job's tasks. Of the highest level, so that no filter takes it away.
pub(super) fn span(id: &str) -> Span {
    tracing::error_span!(SPAN, id)
}

impl JobLogs {
    /// Without lines.
    pub fn new(clock: Arc<dyn Clock>) -> JobLogs {
        JobLogs { jobs: Arc::default(), clock }
    }

    /// The latest `count` lines of a job, oldest first.
    pub fn tail(&self, id: &str, count: usize) -> Vec<LogLine> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = jobs.get(id) else { return Vec::new() };
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    pub(super) fn open(&self, id: &str) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default();
    }

    pub(super) fn remove(&self, id: &str) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn add(&self, id: &str, line: LogLine) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a job that was deleted, nothing is kept.
        let Some(lines) = jobs.get_mut(id) else { return };
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JobLogs {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != SPAN || !attributes.metadata().target().starts_with(module_path!()) {
            return;
        }
        let mut found = IdField(None);
        attributes.record(&mut found);
        if let (Some(span), Some(job)) = (context.span(id), found.0) {
            span.extensions_mut().insert(JobTag(job));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO {
            return;
        }
        let tagged = context
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(|span| Some(span.extensions().get::<JobTag>()?.0.clone())));
        let Some(job) = tagged else { return };
        let mut text = Text::default();
        event.record(&mut text);
        let mut message = text.message + &text.fields;
        if message.len() > LOG_LINE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(LOG_LINE_BYTES_MAX));
        }
        let metadata = event.metadata();
        let (time_ms, level) = (self.clock.now_ms(), metadata.level().as_str());
        self.add(&job, LogLine { time_ms, level, target: metadata.target().to_owned(), message });
    }
}

struct IdField(Option<String>);

impl Visit for IdField {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "id" {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a text does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::model::SystemClock;

    #[test]
    fn each_job_has_its_own_latest_lines() {
        let logs = JobLogs::new(Arc::new(SystemClock::new()));
        ["a", "b"].iter().for_each(|id| logs.open(id));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(logs.clone()), || {
            tracing::info!("of nobody");
            for (id, count) in [("a", 3), ("b", LOG_LINES_MAX + 2), ("deleted", 1)] {
                span(id).in_scope(|| {
                    tracing::info_span!("inner").in_scope(|| {
                        (0..count).for_each(|n| tracing::warn!(n, "line {}", n));
                        tracing::debug!("too fine");
                    });
                });
            }
        });
        let messages = |id, count| logs.tail(id, count).into_iter().map(|line| line.message).collect::<Vec<_>>();
        assert_eq!(messages("a", 2), ["line 1 n=1", "line 2 n=2"]);
        let of_b = messages("b", usize::MAX);
        assert_eq!((of_b.len(), &*of_b[0]), (LOG_LINES_MAX, "line 2 n=2"));
        assert!(messages("deleted", 9).is_empty());
        logs.remove("a");
        assert!(messages("a", 9).is_empty());
    }
}
