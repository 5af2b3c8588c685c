//! What the host keeps for one guest instance, and what it does when the guest asks for memory or writes to its log.
use wasmtime::ResourceLimiter;

use super::{
    contract::logging::{self, Level},
    maps::Lent,
};

/// Bytes of a log line; the rest is cut off.
pub const LOG_LINE_BYTES_MAX: usize = 8 << 10;

/// Log lines of one call; further ones are counted, not written.
pub const LOG_LINES_PER_CALL_MAX: u32 = 100;

/// Entries in a guest's tables.
const TABLE_ENTRIES_MAX: usize = 1 << 20;

/// The host's side of an instance.
pub(super) struct GuestState {
    pub(super) operator: String,
    pub(super) subtask: u32,
    pub(super) memory_bytes_max: usize,
    pub(super) memory_bytes: usize,
    pub(super) memory_exceeded: bool,
    pub(super) log_lines: u32,
    /// The last line logged as an error in this call: a panic says there what a trap cannot.
    pub(super) last_error: Option<String>,
    /// What `map-state` reads, during a call that may read maps.
    pub(super) maps: Option<Lent>,
}

impl ResourceLimiter for GuestState {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes + (desired - current);
        if total > self.memory_bytes_max {
            self.memory_exceeded = true;
            // A trap, not a refusal: what a guest makes of a refusal would hide the reason.
            wasmtime::bail!("memory limit");
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ENTRIES_MAX)
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
    /// Forgets what belonged to the call before; says how many log lines were held back.
    pub(super) fn begin_call(&mut self) {
        self.log_lines = 0;
        self.last_error = None;
    }

    pub(super) fn end_call(&self) {
        if self.log_lines > LOG_LINES_PER_CALL_MAX {
            let suppressed = self.log_lines - LOG_LINES_PER_CALL_MAX;
            tracing::warn!(target: "guest", operator = self.operator, subtask = self.subtask, suppressed, "log lines were held back");
        }
    }
}
