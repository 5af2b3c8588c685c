//! Records to topics of Kafka. Exactly once, for readers that read what is committed (`isolation.level=read_committed`).
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::try_join_all;
use serde::{Deserialize, Deserializer};

use super::{
    error::Failure,
    sink_settings::{SinkSettings, Topic, TopicColumn},
    sink_writer::{KafkaWriter, lost},
    transaction::{Committable, Decision, Ids},
    wire::Cluster,
};
use crate::{
    connector::{ConnectorError, Delivery, Opening, Recovery, Sink, SinkWriter},
    model::{Clock, Kind},
};

/// Transactional ids that are shut out one after the other, while others are through other connections.
const IDS_PER_CONNECTION: usize = 4;

/// Connections to each broker that ids are shut out through at the same time.
const CONNECTIONS_MAX: usize = 8;

/// `kafka: { brokers: "host:9092", topic: alerts, key: user }`
#[derive(Clone, Debug)]
pub struct KafkaSink {
    settings: Arc<SinkSettings>,
    /// How the latest start is known to the brokers: the producer and epoch of [`Ids::start`].
    start: Arc<Mutex<Option<(i64, i64)>>>,
}

impl<'de> Deserialize<'de> for KafkaSink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<KafkaSink, D::Error> {
        SinkSettings::deserialize(deserializer)
            .map(|settings| KafkaSink { settings: Arc::new(settings), start: Arc::default() })
    }
}

impl KafkaSink {
    fn ids(&self, job: &str, uid: &str) -> Ids {
        Ids::new(self.settings.transactional_id_prefix.as_deref().unwrap_or(job), uid)
    }

    /// Fails with C0408 if brokers would not keep transactions open for as long as is asked for.
    async fn check_timeout(&self, cluster: &mut Cluster) -> Result<(), ConnectorError> {
        let asked = self.settings.transaction_timeout;
        match cluster.transaction_timeout_max().await? {
            Some(max) if asked > max => {
                let (asked, max) = (humantime::format_duration(asked), humantime::format_duration(max));
                let what = format!(
                    "`transaction_timeout` is {asked}, and the brokers' `transaction.max.timeout.ms` allows {max}: set the first to at \
                     most {max}, or the second to at least {asked}"
                );
                Err(Failure::TransactionTimeout.at(self.settings.place(), what))
            }
            _ => Ok(()),
        }
    }

    /// Shuts out whoever writes with these ids, several at a time: each takes as long as the transaction that is open under it takes to abort.
    async fn fence(&self, first: Cluster, ids: &[String], clock: &Arc<dyn Clock>) -> Result<(), ConnectorError> {
        let connections = ids.len().div_ceil(IDS_PER_CONNECTION).clamp(1, CONNECTIONS_MAX);
        let mut first = Some(first);
        let work = (0..connections).map(|connection| {
            let known = first.take();
            async move {
                let mut cluster = match known {
                    Some(cluster) => cluster,
                    None => Cluster::connect(&self.settings.client(), clock).await?,
                };
                for id in ids.iter().skip(connection).step_by(connections) {
                    cluster.fence(id, self.settings.transaction_timeout).await?;
                }
                Ok(())
            }
        });
        try_join_all(work).await.map(drop)
    }

    /// Makes what a checkpoint counts on visible.
    async fn settle(&self, cluster: &mut Cluster, committable: &Committable) -> Result<(), ConnectorError> {
        let id = &committable.id;
        let found = cluster.describe(id).await?;
        let decision = committable.decide(found.as_ref());
        tracing::debug!(?committable, ?found, ?decision, "an earlier transaction");
        match decision {
            Decision::Commit => {
                tracing::info!(id, "committing a transaction of checkpoint {}", committable.checkpoint);
                let Err(error) = cluster.commit(id, committable.producer_id, committable.epoch).await else {
                    return Ok(());
                };
                // Its time may have been over just now.
                match committable.decide(cluster.describe(id).await?.as_ref()) {
                    Decision::Done => Ok(()),
                    Decision::Lost => lost(&self.settings, committable),
                    Decision::Commit | Decision::Expired => Err(error),
                }
            }
            Decision::Done => Ok(()),
            Decision::Expired => {
                tracing::warn!(
                    id,
                    "the brokers do not know a transaction of checkpoint {} any more; it is taken for committed",
                    committable.checkpoint
                );
                Ok(())
            }
            Decision::Lost => lost(&self.settings, committable),
        }
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn reads(&self) -> Vec<(String, &'static [Kind])> {
        let settings = &self.settings;
        let mut reads: Vec<(String, &'static [Kind])> = Vec::new();
        if let Topic::Of(TopicColumn { column }) = &settings.topic {
            reads.push((column.clone(), &[Kind::Utf8]));
        }
        if let Some(key) = &settings.key {
            reads.push((key.clone(), &[Kind::Utf8, Kind::Int64, Kind::Binary, Kind::Boolean, Kind::Float64]));
        }
        if let Some(column) = settings.partition_column() {
            reads.push((column.clone(), &[Kind::Int64]));
        }
        reads.extend(settings.headers.values().map(|column| (column.clone(), &[Kind::Utf8, Kind::Binary][..])));
        reads
    }

    fn delivery(&self) -> Delivery {
        self.settings.delivery
    }

    fn uncommitted_max(&self) -> Option<Duration> {
        (self.settings.delivery == Delivery::ExactlyOnce).then_some(self.settings.transaction_timeout)
    }

    async fn recover(&self, recovery: &Recovery, committables: &[Vec<u8>]) -> Result<(), ConnectorError> {
        let settings = &self.settings;
        settings.config()?;
        let place = settings.place();
        let committables: Vec<Committable> =
            committables.iter().map(|bytes| Committable::decode(&place, bytes)).collect::<Result<_, _>>()?;
        let transactional = settings.delivery == Delivery::ExactlyOnce;
        let mut cluster = match Cluster::connect(&settings.client(), &recovery.clock).await {
            Ok(cluster) => cluster,
            // What only librdkafka understands is enough without transactions.
            Err(error) if !transactional && committables.is_empty() && Failure::Setting.is(&error) => {
                tracing::debug!("brokers are not asked beforehand: {error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let Topic::Fixed(topic) = &settings.topic {
            cluster.check_topic(topic).await?;
        }
        for committable in &committables {
            self.settle(&mut cluster, committable).await?;
        }
        if transactional {
            self.check_timeout(&mut cluster).await?;
            let ids = self.ids(&recovery.job, &recovery.uid);
            // Only now: what is shut out cannot be committed any more. Whoever is not shut out by the second is by the first.
            let start = cluster.fence(&ids.start(), settings.transaction_timeout).await?;
            *self.start.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
            let known = cluster.ids(|id| ids.contains(id)).await?;
            self.fence(cluster, &known, &recovery.clock).await?;
        }
        Ok(())
    }

    fn open(&self, opening: &Opening) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        let &Opening { ref job, ref uid, subtask, ref clock, .. } = opening;
        let config = self.settings.config()?;
        let clock: Arc<dyn Clock> = clock.clone();
        let start = *self.start.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(KafkaWriter::new(self.settings.clone(), config, (self.ids(job, uid), start), subtask, clock)))
    }
}
