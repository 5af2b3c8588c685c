//! What the host keeps for one guest instance, and what it does when the guest asks for memory or writes to its log.
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::{
    budget::Deadline,
    contract::logging::{self, Level},
    maps::Lent,
    wasi::{Stream, Wasi},
};
use crate::model::thread_processor_time;

/// Bytes of a log line; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 << 10;

/// Log lines of one call; further ones are counted, not written.
pub const LOG_LINES_PER_CALL_MAX: u32 = 100;

/// Bytes that an entry of a table is counted as: a pointer of the host's, and as much again while the table grows.
const TABLE_ENTRY_BYTES: usize = 16;

/// Core modules of a guest that are instantiated; each has memory of the host's for its functions and globals. CPython has some 30.
const INSTANCES_MAX: usize = 128;

/// Linear memories of a guest; each takes 4 GiB of the process's addresses, however small it is.
const MEMORIES_MAX: usize = 128;

/// The host's side of an instance.
pub(super) struct GuestState {
    pub(super) operator: String,
    pub(super) subtask: u32,
    pub(super) memory_bytes_max: usize,
    /// Of its linear memories and tables together.
    pub(super) memory_bytes: usize,
    pub(super) memory_exceeded: bool,
    pub(super) log_lines: u32,
    /// The last line logged as an error in this call: a panic says there what a trap cannot.
    pub(super) last_error: Option<String>,
    /// What `map-state` reads, during a call that may read maps.
    pub(super) maps: Option<Lent>,
    /// What it finds if it imports WASI.
    pub(super) wasi: Wasi,
    /// Of the call under way.
    pub(super) deadline: Deadline,
    /// By the thread's time on processors.
    pub(super) began: Duration,
}

impl ResourceLimiter for GuestState {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // It does not come to that.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(desired - current)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow((desired - current).saturating_mul(TABLE_ENTRY_BYTES))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

impl logging::Host for GuestState {
    fn log(&mut self, level: Level, mut message: String) {
        if message.len() > LOG_LINE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(LOG_LINE_BYTES_MAX));
        }
        if matches!(level, Level::Error) {
            self.last_error = Some(message.clone());
        }
        self.log_lines = self.log_lines.saturating_add(1);
        if self.log_lines > LOG_LINES_PER_CALL_MAX {
            return;
        }
        let (operator, subtask) = (&self.operator, self.subtask);
        match level {
            Level::Trace => tracing::trace!(target: "guest", operator, subtask, "{message}"),
            Level::Debug => tracing::debug!(target: "guest", operator, subtask, "{message}"),
            Level::Info => tracing::info!(target: "guest", operator, subtask, "{message}"),
            Level::Warn => tracing::warn!(target: "guest", operator, subtask, "{message}"),
            Level::Error => tracing::error!(target: "guest", operator, subtask, "{message}"),
        }
    }
}

impl GuestState {
    /// What was written to a stream becomes lines of the log.
    pub(super) fn written(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(line) = self.wasi.written(stream, piece) {
                self.log_line(stream, &line);
            }
        }
    }

    fn log_line(&mut self, stream: Stream, line: &[u8]) {
        let level = match stream {
            Stream::Out => Level::Info,
            Stream::Error => Level::Warn,
        };
        if !line.is_empty() {
            logging::Host::log(self, level, String::from_utf8_lossy(line).into_owned());
        }
    }

    /// Counts memory the guest asks for.
    fn grow(&mut self, bytes: usize) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(bytes);
        if total > self.memory_bytes_max {
            self.memory_exceeded = true;
            // A trap, not a refusal: what a guest makes of a refusal would hide the reason.
            wasmtime::bail!("memory limit");
        }
        self.memory_bytes = total;
        Ok(true)
    }

    /// Forgets what belonged to the call before. This one may take so long.
    pub(super) fn begin_call(&mut self, deadline: Deadline) {
        self.log_lines = 0;
        self.last_error = None;
        self.deadline = deadline;
        self.began = thread_processor_time();
    }

    /// What the call has left of its time; `None` if nothing.
    pub(super) fn left(&self) -> Option<Duration> {
        self.deadline.left(thread_processor_time().saturating_sub(self.began))
    }

    /// The end of a call ends the lines that were begun in it.
    pub(super) fn end_call(&mut self) {
        for stream in [Stream::Out, Stream::Error] {
            let line = self.wasi.rest(stream);
            self.log_line(stream, &line);
        }
        if self.log_lines > LOG_LINES_PER_CALL_MAX {
            let suppressed = self.log_lines - LOG_LINES_PER_CALL_MAX;
            tracing::warn!(target: "guest", operator = self.operator, subtask = self.subtask, suppressed, "log lines were held back");
        }
    }
}
