//! What handlers share.
use std::sync::{Arc, atomic::AtomicBool};

use super::{Idempotency, Metrics, auth::Access, limits::Rate};
use crate::{
    audit::AuditLog,
    model::Clock,
    registry::{InUse, Registry},
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
    /// Who has changed what.
    pub audit: Arc<AuditLog>,
    /// Answers that were given.
    pub idempotency: Arc<Idempotency>,
    /// What the server counts.
    pub metrics: Arc<Metrics>,
    /// Whether the server takes work: it does not while it stops.
    pub ready: Arc<AtomicBool>,
    pub(super) access: Arc<Access>,
    pub(super) rate: Arc<Rate>,
}
