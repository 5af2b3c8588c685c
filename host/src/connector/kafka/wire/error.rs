//! Why a call has failed, and whether to make it again.
use std::io;

use kafka_protocol::ResponseError;

use crate::connector::{ConnectorError, kafka::error::Failure};

/// Why a call has failed.
#[derive(Debug)]
pub enum CallError {
    /// The connection does not come about, or breaks.
    Connection { address: String, error: io::Error },
    /// The other side refuses us, or we refuse its certificate.
    Credentials { address: String, what: String },
    /// What comes back is not what the protocol says.
    Protocol { address: String, what: String },
    /// The broker says no; `of` is what it says so of: a topic, a transactional id, a broker.
    Refused { of: String, error: ResponseError, message: Option<String> },
}

impl CallError {
    /// Whether the broker that was asked is not, or no longer, the one to ask.
    pub fn is_elsewhere(&self) -> bool {
        use ResponseError as E;
        match self {
            CallError::Connection { .. } => true,
            CallError::Refused { error, .. } => matches!(error, E::NotCoordinator | E::CoordinatorNotAvailable),
            _ => false,
        }
    }

    /// Whether it may work soon.
    pub fn is_passing(&self) -> bool {
        use ResponseError as E;
        match self {
            CallError::Connection { .. } => true,
            CallError::Refused { error, .. } => {
                error.is_retriable() || matches!(error, E::ConcurrentTransactions | E::CoordinatorLoadInProgress)
            }
            _ => false,
        }
    }
}

impl From<CallError> for ConnectorError {
    fn from(error: CallError) -> ConnectorError {
        match error {
            CallError::Connection { address, error } => {
                let what = format!("cannot be reached: {error}; check `brokers`, `security.protocol` and the network");
                Failure::Unreachable.at(address, what)
            }
            CallError::Credentials { address, what } => Failure::Credentials.at(address, what),
            CallError::Protocol { address, what } => Failure::Unreachable.at(
                address,
                format!("does not answer as a Kafka broker would: {what}; check the port, and `security.protocol`"),
            ),
            CallError::Refused { of, error, message } => {
                let mut what = error.to_string();
                if let Some(message) = message.filter(|message| !message.is_empty()) {
                    what = format!("{what} ({message})");
                }
                Failure::of_answer(error).at(of, what)
            }
        }
    }
}
