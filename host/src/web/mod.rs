//! The server's HTTP interface: routes, who may ask for what, how errors look, and what of it is described by OpenAPI. axum and aide are
//! named in this folder only. A resource is a file with one function that makes its routes. Must not know how plugins are checked and
//! kept, nor how jobs run.
mod answers;
mod audit;
mod auth;
mod canaries;
mod changes;
mod conditional;
mod connections;
mod data;
mod describe;
mod error;
mod events;
mod idempotency;
mod job_metrics;
mod jobs;
#[cfg(test)]
mod jobs_over_http;
mod limits;
mod metrics;
mod operations;
mod operators;
mod optional;
mod page;
mod plugins;
mod problem;
mod receive;
mod replays;
mod requests;
mod rules;
mod server;
mod settings;
mod shadows;
mod state;

pub use auth::{Admin, Caller, Operator, Role, Viewer};
pub use error::WebError;
pub use idempotency::Idempotency;
pub use metrics::Metrics;
pub use page::{LIMIT_DEFAULT, LIMIT_MAX, Page, limit};
pub use problem::Problem;
pub use server::Server;
pub use settings::{ServerSettings, TlsSettings};
pub use state::AppState;
