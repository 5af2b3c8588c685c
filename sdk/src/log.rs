//! The operator's log.
//!
//! Guarantees: in a component, lines go to the host; elsewhere, in tests, to standard error. A panic is logged before the
//! component traps. Must not know: operators, records.

use std::fmt::Arguments;

pub use crate::bindings::logging::Level;

/// Logs a line; the macros `error!`, `warn!`, `info!`, `debug!` and `trace!` call it.
pub fn log(level: Level, message: Arguments) {
    let line = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
    if cfg!(target_arch = "wasm32") {
        crate::bindings::logging::log(level, &line);
    } else {
        eprintln!("{level:?}: {line}");
    }
}

/// Has panics logged from here on, once. Only a component wants this: a test has its own hook.
pub fn catch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| log(Level::Error, format_args!("{panic}")))));
}

/// Logs an error, formatted as by `format!`.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Error, format_args!($($message)+)) };
}

/// Logs a warning, formatted as by `format!`.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Warn, format_args!($($message)+)) };
}

/// Logs what an operator of the job may want to know, formatted as by `format!`.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Info, format_args!($($message)+)) };
}

/// Logs what the author of the plugin may want to know, formatted as by `format!`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Debug, format_args!($($message)+)) };
}

/// Logs every step, formatted as by `format!`.
#[macro_export]
macro_rules! trace {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Trace, format_args!($($message)+)) };
}
