//! What can be asked and done about transactions. Every call is made again while what stands in its way passes.
use std::{collections::BTreeSet, time::Duration};

use kafka_protocol::{
    ResponseError,
    error::ParseResponseErrorCode,
    messages::{
        DescribeConfigsRequest, DescribeTransactionsRequest, EndTxnRequest, InitProducerIdRequest,
        ListTransactionsRequest, TransactionalId, describe_configs_request::DescribeConfigsResource,
        describe_transactions_response::TopicData,
    },
    protocol::StrBytes,
};

use super::{cluster::Cluster, error::CallError};
use crate::connector::ConnectorError;

/// The kind of a broker among what has settings.
const BROKER: i8 = 4;

/// The broker's setting that limits how long transactions last.
const MAX_TIMEOUT: &str = "transaction.max.timeout.ms";

/// What the coordinator knows of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What has become of the latest transaction.
    pub state: State,
    /// Who may write.
    pub producer_id: i64,
    /// The latest who may, each other before is shut out.
    pub epoch: i64,
    /// When it began, in ms since 1970 by the coordinator's clock; -1 if none has since the producer was made known.
    pub start_ms: i64,
    /// Topics and partitions that are part of it while it is open.
    pub partitions: BTreeSet<(String, i32)>,
}

/// What has become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There was none yet.
    Empty,
    /// It is open.
    Ongoing,
    /// It is committed, though readers may not see it yet.
    PrepareCommit,
    /// It is committed.
    CompleteCommit,
    /// It is aborted, though readers may not know yet.
    PrepareAbort,
    /// It is aborted.
    CompleteAbort,
    /// It is about to be aborted, because another producer has come.
    PrepareEpochFence,
}

impl State {
    fn parse(text: &str) -> Option<State> {
        Some(match text {
            "Empty" => State::Empty,
            "Ongoing" => State::Ongoing,
            "PrepareCommit" => State::PrepareCommit,
            "CompleteCommit" => State::CompleteCommit,
            "PrepareAbort" => State::PrepareAbort,
            "CompleteAbort" => State::CompleteAbort,
            "PrepareEpochFence" => State::PrepareEpochFence,
            _ => return None,
        })
    }
}

fn transactional(id: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(id.to_owned()))
}

fn check(of: &str, error_code: i16) -> Result<(), CallError> {
    match error_code.err() {
        None => Ok(()),
        Some(error) => Err(CallError::Refused { of: of.to_owned(), error, message: None }),
    }
}

impl Cluster {
    /// Makes calls to the coordinator of `id` until there is an answer, or the time for it is over.
    async fn settled<T>(
        &mut self,
        id: &str,
        attempts: &mut super::cluster::Attempts,
        result: Result<T, CallError>,
    ) -> Result<Option<T>, ConnectorError> {
        match result {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_passing() => {
                if error.is_elsewhere() {
                    self.forget(id);
                }
                attempts.again(error).await.map(|()| None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What is known of an id; `None` if nothing.
    pub async fn describe(&mut self, id: &str) -> Result<Option<Transaction>, ConnectorError> {
        let mut attempts = self.attempts();
        loop {
            let result = self.describe_once(id).await;
            if let Some(found) = self.settled(id, &mut attempts, result).await? {
                return Ok(found);
            }
        }
    }

    async fn describe_once(&mut self, id: &str) -> Result<Option<Transaction>, CallError> {
        let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![transactional(id)]);
        let answer = self.coordinator(id, &request).await?;
        let protocol = |what: String| CallError::Protocol { address: id.to_owned(), what };
        let Some(found) = answer.transaction_states.into_iter().next() else {
            return Err(protocol("it says nothing of a transaction".to_owned()));
        };
        if found.error_code.err() == Some(ResponseError::TransactionalIdNotFound) {
            return Ok(None);
        }
        check(id, found.error_code)?;
        if &*found.transaction_state == "Dead" {
            return Ok(None);
        }
        let state = State::parse(&found.transaction_state)
            .ok_or_else(|| protocol(format!("a transaction is {}", found.transaction_state)))?;
        let (producer_id, epoch) = (found.producer_id.0, found.producer_epoch.into());
        let of = |topic: TopicData| {
            let name = topic.topic.0.to_string();
            topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
        };
        let start_ms = found.transaction_start_time_ms;
        let partitions = found.topics.into_iter().flat_map(of).collect();
        Ok(Some(Transaction { state, producer_id, epoch, start_ms, partitions }))
    }

    /// Commits an open transaction.
    pub async fn commit(&mut self, id: &str, producer_id: i64, epoch: i16) -> Result<(), ConnectorError> {
        let request = EndTxnRequest::default()
            .with_transactional_id(transactional(id))
            .with_producer_id(producer_id.into())
            .with_producer_epoch(epoch)
            .with_committed(true);
        let mut attempts = self.attempts();
        loop {
            let result = match self.coordinator(id, &request).await {
                Ok(answer) => check(id, answer.error_code),
                Err(error) => Err(error),
            };
            if self.settled(id, &mut attempts, result).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Aborts what is open under an id, and shuts out whoever wrote under it. Gives the producer and the epoch that the id has now.
    pub async fn fence(&mut self, id: &str, timeout: Duration) -> Result<(i64, i64), ConnectorError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional(id)))
            .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
        let mut attempts = self.attempts();
        loop {
            let result = match self.coordinator(id, &request).await {
                Ok(answer) => check(id, answer.error_code).map(|()| answer),
                Err(error) => Err(error),
            };
            if let Some(answer) = self.settled(id, &mut attempts, result).await? {
                return Ok((answer.producer_id.0, answer.producer_epoch.into()));
            }
        }
    }

    /// All ids that brokers know, for which `wanted` holds.
    pub async fn ids(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, ConnectorError> {
        let mut ids = Vec::new();
        // A coordinator that moves meanwhile is asked at neither or both places: hence those found are not all there may be only
        // if the cluster is being changed right now.
        for address in self.nodes().values().cloned().collect::<Vec<_>>() {
            let mut attempts = self.attempts();
            let answer = loop {
                let result = match self.ask(&address, &ListTransactionsRequest::default()).await {
                    Ok(answer) => check(&address, answer.error_code).map(|()| answer),
                    Err(error) => Err(error),
                };
                if let Some(answer) = self.settled("", &mut attempts, result).await? {
                    break answer;
                }
            };
            let found = answer.transaction_states.into_iter().map(|found| found.transactional_id.0.to_string());
            ids.extend(found.filter(|id| wanted(id)));
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// How long transactions may last; `None` if we are not allowed to know.
    pub async fn transaction_timeout_max(&mut self) -> Result<Option<Duration>, ConnectorError> {
        let Some((node, address)) = self.nodes().iter().next().map(|(node, address)| (*node, address.clone())) else {
            return Ok(None);
        };
        let resource = DescribeConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(StrBytes::from_string(node.to_string()))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str(MAX_TIMEOUT)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let mut attempts = self.attempts();
        let answer = loop {
            let result = self.ask(&address, &request).await;
            if let Some(answer) = self.settled("", &mut attempts, result).await? {
                break answer;
            }
        };
        let found = answer.results.iter().filter(|result| result.error_code == 0).flat_map(|result| &result.configs);
        let value = found.filter(|config| &*config.name == MAX_TIMEOUT).find_map(|config| config.value.as_deref());
        Ok(value.and_then(|value| value.parse().ok()).map(Duration::from_millis))
    }
}
