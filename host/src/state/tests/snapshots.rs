//! Snapshots: what is sent, and what is refused.
