//! What a server is told when it starts.
use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
};

/// What a server is told when it starts.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where it listens; port 0 takes any that is free.
    pub address: SocketAddr,
    /// Where it keeps everything; made if it is missing.
    pub data: PathBuf,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// Without a file of tokens: callers of this machine are let in, and may do anything. Only on an address of this machine.
    pub no_auth: bool,
    /// HTTPS instead of HTTP.
    pub tls: Option<TlsSettings>,
    /// Files of public keys; if there are any, plugins must be signed by one.
    pub signature_keys: Vec<PathBuf>,
    /// Bytes of an uploaded plugin.
    pub upload_bytes_max: u64,
    /// A folder of files, each the value of the variable of its name in jobs.
    pub secrets: Option<PathBuf>,
    /// Requests a second of one caller.
    pub rate: NonZeroU32,
    /// For tests: the process aborts once so many checkpoints of a job are complete, before its sinks commit.
    pub crash_at_checkpoint: Option<NonZeroU64>,
}

/// Files for HTTPS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// PEM: the certificate, then those that vouch for it.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}
