//! What handlers share.
use std::sync::{Arc, atomic::AtomicBool};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Idempotency, Metrics, auth::Access, limits::Rate};
use crate::{
    audit::AuditLog,
    model::Clock,
    registry::{InUse, Registry},
    service::Jobs,
};

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Uploaded plugins.
    pub registry: Registry,
    /// Who may still need a plugin.
    pub in_use: Arc<dyn InUse>,
    /// The jobs.
    pub jobs: Jobs,
    /// Who has changed what.
    pub audit: Arc<AuditLog>,
    /// Requests that change something, and are seen through.
    pub tasks: TaskTracker,
    /// A permit for each of them.
    pub(super) changes: Arc<Semaphore>,
    /// Answers that were given.
    pub idempotency: Arc<Idempotency>,
    /// What the server counts.
    pub metrics: Arc<Metrics>,
    /// Whether the server takes work: it does not while it stops.
    pub ready: Arc<AtomicBool>,
    /// Cancelled once the server stops: what never ends by itself ends then.
    pub stopping: CancellationToken,
    /// For events that are followed: a permit each.
    pub(super) event_streams: Arc<Semaphore>,
    pub(super) access: Arc<Access>,
    pub(super) rate: Arc<Rate>,
}
