//! The life of a job that is to run: prepared if it is not yet, started, waited for, and what its end means. One task for each job;
//! whatever happens in it concerns no other.
use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    ServiceError, Step,
    entry::Entry,
    history,
    jobs::Inner,
    logs,
    prepare::{self, Ready},
    spawner::JobSpawner,
};
use crate::{
    control::{AllHere, CrashAtCheckpoint, Job, JobObserver, JobOptions, JobReport, RunError, StartFrom},
    dataflow::Environment,
};

impl Inner {
    /// Has a job run; it is prepared first unless it is ready.
    pub(super) fn start(self: &Arc<Self>, entry: &Arc<Entry>, ready: Option<Ready>) {
        let (inner, job) = (self.clone(), entry.clone());
        let work = async move {
            let ready = match ready {
                Some(ready) => Ok(ready),
                None => {
                    let parallelism = job.record().parallelism.clone();
                    inner.prepare(&job, parallelism).await
                }
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
        live.restarts = 0;
        live.work = Some(tokio::spawn(work.instrument(logs::span(&entry.id))));
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
        let (from, versions) = {
            let record = entry.record();
            let savepoint = record.from_savepoint.clone().filter(|_| latest <= record.from_savepoint_until);
            (savepoint.map_or(StartFrom::Latest, StartFrom::Savepoint), history::versions(&record.versions))
        };
        let plugins = Some(self.source.clone());
        let mut observer: Arc<dyn JobObserver> = Arc::new(entry.clone());
        if let Some(number) = self.crash_at_checkpoint {
            observer = Arc::new(CrashAtCheckpoint::new(number, Some(observer)));
        }
        Ok(JobOptions { from, versions, plugins, observer: Some(observer), ..ready.options.clone() })
    }
}
