//! The brokers of a cluster, and connections to them, made when they are needed and again when they break.
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use kafka_protocol::{
    ResponseError,
    error::ParseResponseErrorCode,
    messages::{FindCoordinatorRequest, MetadataRequest, TopicName, metadata_request::MetadataRequestTopic},
    protocol::StrBytes,
};

use super::{Security, calls::Call, connection::Connection, error::CallError};
use crate::{
    connector::{
        ConnectorError,
        kafka::{client::Client, error::Failure},
    },
    model::Clock,
};

/// How long to try again what is said to work soon: a coordinator that reads its log, a transaction that is being ended.
const RETRY_TIME: Duration = Duration::from_secs(60);

/// Between two attempts, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A coordinator of transactions, as opposed to one of a consumer group.
const TRANSACTIONS: i8 = 1;

/// The operation `write` in a set of them.
const WRITE: i32 = 1 << 4;

/// What a broker says of operations if it does not know.
const OPERATIONS_UNKNOWN: i32 = i32::MIN;

/// A cluster.
pub struct Cluster {
    /// Whom to ask first.
    first: Vec<String>,
    security: Security,
    clock: Arc<dyn Clock>,
    /// By address.
    connections: HashMap<String, Connection>,
    /// Addresses of all brokers, by number.
    nodes: BTreeMap<i32, String>,
    /// Addresses of coordinators, by transactional id.
    coordinators: HashMap<String, String>,
}

impl Cluster {
    /// Finds out which brokers there are. Fails with C0402 if none answers, C0403 if they refuse us.
    pub async fn connect(client: &Client, clock: &Arc<dyn Clock>) -> Result<Cluster, ConnectorError> {
        let mut cluster = Cluster {
            first: client.brokers.addresses().to_vec(),
            security: Security::new(client)?,
            clock: clock.clone(),
            connections: HashMap::new(),
            nodes: BTreeMap::new(),
            coordinators: HashMap::new(),
        };
        cluster.learn(None).await?;
        Ok(cluster)
    }

    /// Fails with C0404 if there is no such topic, C0405 if it may not be written to.
    pub async fn check_topic(&mut self, topic: &str) -> Result<(), ConnectorError> {
        let mut attempts = Attempts::new(&self.clock);
        loop {
            match self.learn(Some(topic)).await {
                Ok(Some(operations)) if operations != OPERATIONS_UNKNOWN && operations & WRITE == 0 => {
                    return Err(
                        Failure::Denied.at(topic, "is not to be written by us: it needs an ACL that allows `Write`")
                    );
                }
                Ok(_) => return Ok(()),
                Err(CallError::Refused { error: ResponseError::UnknownTopicOrPartition, .. }) => {
                    return Err(Failure::Missing.at(topic, "there is no such topic: create it, or correct `topic`"));
                }
                Err(error) if error.is_passing() => attempts.again(error).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Learns brokers, and about one topic which operations are allowed.
    async fn learn(&mut self, topic: Option<&str>) -> Result<Option<i32>, CallError> {
        let topics = topic.map(|topic| {
            let name = TopicName(StrBytes::from_string(topic.to_owned()));
            MetadataRequestTopic::default().with_name(Some(name))
        });
        let request = MetadataRequest::default()
            .with_topics(Some(topics.into_iter().collect()))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        let answer = self.anyone(&request).await?;
        self.nodes =
            answer.brokers.iter().map(|node| (node.node_id.0, format!("{}:{}", node.host, node.port))).collect();
        let Some(found) = answer.topics.first() else { return Ok(None) };
        match found.error_code.err() {
            None => Ok(Some(found.topic_authorized_operations)),
            Some(error) => Err(CallError::Refused { of: topic.unwrap_or_default().to_owned(), error, message: None }),
        }
    }

    /// Addresses of all brokers, by number.
    pub fn nodes(&self) -> &BTreeMap<i32, String> {
        &self.nodes
    }

    /// A series of attempts.
    pub fn attempts(&self) -> Attempts {
        Attempts::new(&self.clock)
    }

    /// Asks whoever answers.
    async fn anyone<C: Call>(&mut self, request: &C) -> Result<C::Answer, CallError> {
        let mut known: Vec<String> = self.nodes.values().chain(&self.first).cloned().collect();
        // Those that we are connected to first.
        known.sort_by_key(|address| !self.connections.contains_key(address));
        let mut last = None;
        for address in known {
            match self.ask(&address, request).await {
                Err(error @ CallError::Connection { .. }) => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| {
            let error = io::Error::new(io::ErrorKind::NotFound, "there are no brokers");
            CallError::Connection { address: self.first.join(","), error }
        }))
    }

    /// Asks the coordinator of a transactional id.
    pub async fn coordinator<C: Call>(&mut self, id: &str, request: &C) -> Result<C::Answer, CallError> {
        let address = match self.coordinators.get(id) {
            Some(address) => address.clone(),
            None => self.find(id).await?,
        };
        self.ask(&address, request).await
    }

    /// Has the coordinator looked for anew with the next call.
    pub fn forget(&mut self, id: &str) {
        self.coordinators.remove(id);
    }

    async fn find(&mut self, id: &str) -> Result<String, CallError> {
        let request = FindCoordinatorRequest::default()
            .with_key(StrBytes::from_string(id.to_owned()))
            .with_key_type(TRANSACTIONS);
        let answer = self.anyone(&request).await?;
        if let Some(error) = answer.error_code.err() {
            let message = answer.error_message.as_deref().map(str::to_owned);
            return Err(CallError::Refused { of: id.to_owned(), error, message });
        }
        let address = format!("{}:{}", answer.host, answer.port);
        self.coordinators.insert(id.to_owned(), address.clone());
        Ok(address)
    }

    /// Asks one broker.
    pub async fn ask<C: Call>(&mut self, address: &str, request: &C) -> Result<C::Answer, CallError> {
        // Taken out, so that a call that is given up leaves no connection in the middle of an answer.
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => Connection::open(address, &self.security, &self.clock).await?,
        };
        let answer = connection.call(request).await?;
        self.connections.insert(address.to_owned(), connection);
        Ok(answer)
    }
}

/// A series of attempts at the same, with pauses that grow.
pub struct Attempts {
    clock: Arc<dyn Clock>,
    pauses: ExponentialBackoff,
    until: Duration,
}

impl Attempts {
    fn new(clock: &Arc<dyn Clock>) -> Attempts {
        let pauses = ExponentialBuilder::new().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX).without_max_times();
        Attempts { clock: clock.clone(), pauses: pauses.build(), until: clock.monotonic() + RETRY_TIME }
    }

    /// Waits for the next attempt; fails with the error if the time is over.
    pub async fn again(&mut self, error: CallError) -> Result<(), ConnectorError> {
        let now = self.clock.monotonic();
        let pause = self.pauses.next().unwrap_or(PAUSE_MAX);
        if now + pause > self.until {
            return Err(error.into());
        }
        tracing::debug!("trying again in {pause:?}: {error:?}");
        self.clock.sleep_until(now + pause).await;
        Ok(())
    }
}
