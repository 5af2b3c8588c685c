//! The life of a job that is to run: prepared if it is not yet, started, waited for, and what its end means. One task for each job;
//! whatever happens in it concerns no other.
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    ServiceError, State, Step,
    entry::Entry,
    history,
    jobs::Inner,
    logs,
    prepare::{self, Ready},
    spawner::JobSpawner,
    trials,
};
use crate::{
    control::{AllHere, CrashAtCheckpoint, Job, JobObserver, JobOptions, JobReport, RunError, StartFrom},
    dataflow::Environment,
};

/// Between two attempts to start a job that an earlier server has run, at first and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Inner {
    /// Has a job run that is about to start; it is prepared first unless it is ready. Does nothing, and says so, if it was cancelled meanwhile or the
    /// server ends.
    pub(super) fn start(self: &Arc<Self>, entry: &Arc<Entry>, ready: Option<Ready>) -> bool {
        let (inner, job) = (self.clone(), entry.clone());
        let work = async move {
            let ready = match ready {
                Some(ready) => Ok(ready),
                None => inner.prepare_again(&job).await,
            };
            match ready {
                Ok(ready) => inner.run(&job, ready).await,
                Err(error) => job.fail(&error).await,
            }
        };
        let job = entry.clone();
        let work = async move {
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                job.fail(&RunError::Panic("whoever runs the job is gone".into()).into()).await;
            }
            job.persist_or_log().await;
        };
        let mut live = entry.live();
        // Whoever ends it changes that first, and then looks for the work: it is there, or it never will be.
        if entry.state() != State::Starting || self.open().is_err() {
            return false;
        }
        live.restarts = 0;
        live.work = Some(tokio::spawn(work.instrument(logs::span(&entry.id))));
        true
    }

    /// Prepares a job that an earlier server has run. What may pass by itself is waited for: a disk that comes late is no reason to give a job up.
    async fn prepare_again(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<Ready, ServiceError> {
        let pauses = ExponentialBuilder::new().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX).without_max_times();
        let mut pauses = pauses.build();
        loop {
            let ready = async {
                let parallelism = entry.record().parallelism.clone();
                let ready = self.prepare(entry, parallelism).await?;
                prepare::latest_checkpoint(&ready.options).await?;
                Ok(ready)
            };
            match ready.await {
                Err(error) if ServiceError::retry_helps(&error) => {
                    let pause = pauses.next().unwrap_or(PAUSE_MAX);
                    tracing::warn!("the job cannot start yet, trying again in {pause:?}: {error}");
                    entry.record().error = Some(error.to_string());
                    let clock = &self.environment.clock;
                    clock.sleep_until(clock.monotonic() + pause).await;
                }
                ready => return ready,
            }
        }
    }

    /// Runs a job to its end, over changes of its parallelism.
    async fn run(self: &Arc<Self>, entry: &Arc<Entry>, mut ready: Ready) {
        loop {
            let ended = self.run_once(entry, &ready).await;
            let step = match ended {
                Err(error) => return entry.fail(&error).await,
                Ok(report) if report.stopped => Step::Stopped,
                Ok(_) => Step::Finished,
            };
            let next = entry.live().next.take().filter(|_| step == Step::Stopped);
            match next {
                Some(next) if entry.step(Step::Rescaled).is_ok() => {
                    entry.record().parallelism = next.parallelism.clone();
                    entry.persist_or_log().await;
                    ready = next;
                }
                _ => {
                    // One that is not possible: nothing runs, whatever the state says, until somebody asks.
                    if entry.end(step, None).await.is_err() {
                        tracing::error!("the job has ended ({step:?}) while it was {}", entry.state());
                    }
                    return;
                }
            }
        }
    }

    /// From its start to its end; nothing of it runs then.
    async fn run_once(&self, entry: &Arc<Entry>, ready: &Ready) -> Result<JobReport, ServiceError> {
        {
            entry.record().plugins = prepare::plugins(&ready.prepared);
        }
        let options = self.options(entry, ready).await?;
        let spawner =
            JobSpawner { runtime: self.data.clone(), span: logs::span(&entry.id), alive: entry.alive.clone() };
        let environment = Environment { spawner: Arc::new(spawner), ..self.environment.clone() };
        let job = Job::start(ready.prepared.clone(), environment, Arc::new(AllHere), options, CancellationToken::new());
        let view = job.view();
        entry.live().view = Some((view.clone(), ready.prepared.clone()));
        let end = job.wait();
        tokio::pin!(end);
        let ended = loop {
            tokio::select! {
                ended = &mut end => break ended,
                () = entry.unsaved.notified() => {
                    entry.promise_all(&view);
                    entry.persist_or_log().await;
                }
            }
        };
        entry.alive.none().await;
        entry.close();
        Ok(ended?)
    }

    /// From its savepoint until it has a checkpoint of its own.
    async fn options(&self, entry: &Arc<Entry>, ready: &Ready) -> Result<JobOptions, ServiceError> {
        let latest = prepare::latest_checkpoint(&ready.options).await?;
        let (from, versions, trials) = {
            let record = entry.record();
            let savepoint = record.from_savepoint.clone().filter(|_| latest <= record.from_savepoint_until);
            let trials = trials::left(&record.trials, entry.now_ms());
            (savepoint.map_or(StartFrom::Latest, StartFrom::Savepoint), history::versions(&record.versions), trials)
        };
        let plugins = Some(self.source.clone());
        let mut observer: Arc<dyn JobObserver> = Arc::new(entry.clone());
        if let Some(number) = self.crash_at_checkpoint {
            observer = Arc::new(CrashAtCheckpoint::new(number, Some(observer)));
        }
        Ok(JobOptions { from, versions, trials, plugins, observer: Some(observer), ..ready.options.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use crate::{
        control::{PluginSource, SourceError},
        dataflow::{Environment, MemoryExchanges, TokioSpawner},
        job::PluginRef,
        model::SystemClock,
        plugin::{LoadError, Plugin},
        service::{JobLogs, Jobs, JobsSettings, Request, State, Step, Submission},
    };
    use std::sync::Arc;

    struct NoPlugins;

    impl PluginSource for NoPlugins {
        fn load(&self, reference: &PluginRef) -> Result<Arc<Plugin>, SourceError> {
            Err(LoadError::Unknown(reference.to_string()).into())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_that_is_cancelled_or_whose_server_ends_before_it_starts_does_not_start() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let settings = JobsSettings {
            directory: directory.path().to_owned(),
            secrets: None,
            variables: BTreeMap::new(),
            crash_at_checkpoint: None,
            changes: Arc::new(()),
        };
        let (exchanges, spawner) = (Arc::new(MemoryExchanges), Arc::new(TokioSpawner));
        let environment = Environment { clock: clock.clone(), seed: 0, exchanges, spawner };
        let data = tokio::runtime::Handle::current();
        let jobs = Jobs::open(settings, Arc::new(NoPlugins), environment, data, JobLogs::new(clock)).await.unwrap();
        let text = "name: j\nsources: { in: { file: { path: job.yaml } } }\nsinks: { out: { input: in, discard: {} } }";
        let id = jobs.submit(Submission { text: text.into(), ..Submission::default() }).await.unwrap().id;
        jobs.until(&id, State::is_terminal).await.unwrap();
        let (inner, entry) = jobs.to(&id).unwrap();
        let work = entry.live().work.take().unwrap();
        let _ = work.await;
        // As if it had failed, and somebody had begun to start it again.
        entry.record().phase.state = State::Failed;
        for request in [Request::Restart, Request::Cancel] {
            entry.step(Step::Request(request)).unwrap();
        }
        assert!(!inner.start(&entry, None) && entry.live().work.is_none());
        jobs.cancel(&id).await.unwrap_err();
        entry.step(Step::Cancelled).unwrap();
        entry.step(Step::Request(Request::Restart)).unwrap();
        jobs.shutdown(Duration::ZERO).await;
        assert!(!inner.start(&entry, None) && entry.live().work.is_none());
    }
}
