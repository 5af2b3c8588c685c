//! A real Apache Kafka for tests, brought up by `tests/kafka/broker`: one that is shared, and others of a test's own, to be killed. And what
//! is mostly beside one, a schema registry.
//! Guarantees: none outlives the test process, however that ends; everything is waited for within `PATIENCE`. Must not know what is
//! tested.
mod certificates;
mod read;
mod registry;
mod topic;

use std::{
    fs,
    path::Path,
    process::{self, Command},
    sync::OnceLock,
    time::Duration,
};

use rdkafka::config::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;

use super::guests::{root, run};

pub use certificates::Certificates;
pub use read::{Reader, Record};
pub use registry::SchemaRegistry;
pub use topic::{Producer, Topic};

/// The longest wait for something that is to happen: long enough for any machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Who may come in at `Broker::sasl`, and the like over TLS, with which password, by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
pub const USER: (&str, &str) = ("alice", "secret");

/// Another, by PLAIN only, with the same password.
pub const OTHER: &str = "mallory";

const ADVICE: &str = "Kafka needs Java 17 or newer and Maven (Debian: apt-get install default-jre-headless maven)";

/// A broker, or three.
pub struct Broker {
    address: String,
    sasl: Option<String>,
    /// Over TLS, without and with passwords.
    tls: Option<[String; 2]>,
    /// Of one that is the test's own.
    directory: Option<TempDir>,
}

impl Broker {
    /// The one for all tests of this process that leave it alone: the one that WASMILL_KAFKA names, or one that is started now.
    pub fn shared() -> &'static Broker {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(|| {
            let named = |name: &str| std::env::var(name).ok();
            if let Some(address) = named("WASMILL_KAFKA") {
                return Broker { address, sasl: named("WASMILL_KAFKA_SASL"), tls: None, directory: None };
            }
            // Nothing is dropped at the end of a process: `broker` watches for it, and removes the directory then.
            let directory = tempfile::Builder::new().prefix("wasmill-kafka-").disable_cleanup(true).tempdir();
            let directory = directory.expect("a temporary directory");
            let [address, sasl, ..] = start(directory.path(), 1, &[], None);
            Broker { address, sasl: Some(sasl), tls: None, directory: None }
        })
    }

    /// One for this test alone, to be killed and started again.
    pub fn own() -> Broker {
        Broker::own_with(1, &[])
    }

    /// One or three nodes for this test alone, with settings of brokers.
    pub fn own_with(nodes: u32, settings: &[(&str, &str)]) -> Broker {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [address, sasl, ..] = start(directory.path(), nodes, settings, None);
        Broker { address, sasl: Some(sasl), tls: None, directory: Some(directory) }
    }

    /// One node that also listens for TLS, with these certificates.
    pub fn own_with_tls(certificates: &Certificates, settings: &[(&str, &str)]) -> Broker {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [address, sasl, tls, sasl_tls] = start(directory.path(), 1, settings, Some(&certificates.server()));
        Broker { address, sasl: Some(sasl), tls: Some([tls, sasl_tls]), directory: Some(directory) }
    }

    /// `host:port` for TLS, where nobody is asked who they are, and where everybody is.
    pub fn tls(&self) -> &[String; 2] {
        self.tls.as_ref().expect("a broker that listens for TLS")
    }

    /// `host:port,...` for clients.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `host:port,...` that ask who comes (`SASL_PLAINTEXT`): see [`USER`].
    pub fn sasl(&self) -> &str {
        self.sasl.as_deref().expect("WASMILL_KAFKA_SASL, where WASMILL_KAFKA names a broker")
    }

    /// What a client of it begins with.
    pub fn config(&self) -> ClientConfig {
        config(&self.address)
    }

    /// SIGKILL for a node (1 and up), or all.
    pub fn kill(&self, node: Option<u32>) {
        self.act("kill", node);
    }

    /// Starts a node again, or all, and waits until it answers; one that runs is ended in order before.
    pub fn restart(&self, node: Option<u32>) {
        self.act("restart", node);
    }

    fn act(&self, action: &str, node: Option<u32>) {
        let directory = self.directory.as_ref().expect("a broker of one's own");
        let mut command = script(action, directory.path());
        if let Some(node) = node {
            command.args(["--node", &node.to_string()]);
        }
        run(&mut command, ADVICE);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            // If it does not work now, it will when the process ends.
            let _ = script("stop", directory.path()).arg("--now").output();
        }
    }
}

fn config(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    // A broker that was killed is looked for often.
    config.set("bootstrap.servers", address).set("reconnect.backoff.max.ms", "200");
    config
}

fn script(action: &str, directory: &Path) -> Command {
    let mut command = Command::new(root().join("tests/kafka/broker"));
    command.arg(action).arg("--directory").arg(directory);
    command
}

/// Starts nodes that end with this process: where they are, without and with passwords, and the same over TLS.
fn start(directory: &Path, nodes: u32, settings: &[(&str, &str)], tls: Option<&Path>) -> [String; 4] {
    let mut command = script("start", directory);
    command.args(["--while", &process::id().to_string(), "--nodes", &nodes.to_string()]);
    for (name, value) in settings {
        command.args(["--set", &format!("{name}={value}")]);
    }
    if let Some(tls) = tls {
        command.arg("--tls").arg(tls);
    }
    run(&mut command, ADVICE);
    let cluster = fs::read(directory.join("cluster.json")).expect("what `broker` has started");
    let cluster: Value = serde_json::from_slice(&cluster).expect("JSON");
    let addresses = |kind: &str| {
        let nodes = cluster["nodes"].as_array().into_iter().flatten();
        nodes.filter_map(|node| node[kind].as_str()).collect::<Vec<_>>().join(",")
    };
    ["address", "sasl", "tls", "sasl_tls"].map(addresses)
}
