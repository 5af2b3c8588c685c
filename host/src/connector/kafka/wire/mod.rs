//! A small client of Kafka's protocol, for what librdkafka does not offer: looking at transactions, and ending those of another process.
//! Everything in it is bounded in size and time. Must not know rows, checkpoints or jobs.
mod calls;
mod cluster;
mod connection;
mod error;
mod sasl;
mod scram;
mod security;
mod tls;
mod transactions;

pub use cluster::Cluster;
pub use security::Security;
pub use transactions::{State, Transaction};
