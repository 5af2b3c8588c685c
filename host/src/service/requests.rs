//! What can be asked of a job. Each request is checked against the job's state first; once begun it is seen through, whether or not
//! whoever asked still waits.
use std::{path::PathBuf, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    JobInfo, Jobs, Parallelism, Request, ServiceError, State, Step,
    entry::Entry,
    jobs::{Inner, blocking, detached},
    places::Places,
};
use crate::{
    checkpoint::{LocalStore, remove_all},
    control::{JobView, Prepared, RunError},
    dataflow::Last,
    job::OnCancel,
};

/// How a job is stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// Whether with a savepoint; `Some(None)` for one where the job's go.
    pub savepoint: Option<Option<PathBuf>>,
    /// Whether its sources end as if their input had: windows fire, and there is nothing to go on with.
    pub drain: bool,
}

/// How a job has stopped.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Stopped {
    /// The job.
    pub job: JobInfo,
    /// Its savepoint, if one was asked for.
    pub savepoint: Option<PathBuf>,
}

impl Jobs {
    /// Ends a job with a last checkpoint, or a savepoint. Returns once nothing of it runs. If the last checkpoint fails, the job
    /// starts again, and this fails.
    pub async fn stop(&self, job: &str, stop: Stop) -> Result<Stopped, ServiceError> {
        let (inner, entry) = self.to(job)?;
        detached(async move { inner.stop(&entry, stop).await }).await
    }

    /// Ends a job where it is. Its checkpoints stay, unless the job says otherwise (`on_cancel`). Returns once nothing of it runs.
    pub async fn cancel(&self, job: &str) -> Result<JobInfo, ServiceError> {
        let (inner, entry) = self.to(job)?;
        detached(async move { inner.cancel(&entry).await }).await
    }

    /// Starts a job that has ended, from its latest checkpoint. Returns once it is prepared.
    pub async fn restart(&self, job: &str) -> Result<JobInfo, ServiceError> {
        let (inner, entry) = self.to(job)?;
        detached(async move { inner.restart(&entry).await }).await
    }

    /// Takes a savepoint, into a folder or where the job's go; the folder.
    pub async fn savepoint(&self, job: &str, folder: Option<PathBuf>) -> Result<PathBuf, ServiceError> {
        let (inner, entry) = self.to(job)?;
        detached(async move { inner.savepoint(&entry, folder).await }).await
    }

    /// Takes a checkpoint now; its number, once it is durable.
    pub async fn checkpoint(&self, job: &str) -> Result<u64, ServiceError> {
        let (_, entry) = self.to(job)?;
        let (view, _) = running(&entry, Request::Checkpoint)?;
        entry.reply(view.checkpoint(Last::No), in_vain).await.map_err(not_done(Request::Checkpoint))
    }

    /// Ends a job with a last checkpoint and starts it with another parallelism; what is not named stays as it is. Returns once it is
    /// started again. If the last checkpoint fails, the job starts again as it was, and this fails.
    pub async fn rescale(&self, job: &str, rescale: Parallelism) -> Result<JobInfo, ServiceError> {
        let (inner, entry) = self.to(job)?;
        detached(async move { inner.rescale(&entry, rescale).await }).await
    }

    /// Forgets a job that has ended, with its folder and all that is in it.
    pub async fn delete(&self, job: &str) -> Result<(), ServiceError> {
        let (inner, entry) = self.to(job)?;
        detached(async move { inner.delete(&entry).await }).await
    }

    pub(super) fn to(&self, job: &str) -> Result<(Arc<Inner>, Arc<Entry>), ServiceError> {
        self.0.open()?;
        Ok((self.0.clone(), self.0.find(job)?))
    }
}

/// States in which nothing comes of what a running job was asked for.
fn in_vain(state: State) -> bool {
    state.is_terminal() || matches!(state, State::Restarting | State::Cancelling)
}

fn not_done(request: Request) -> impl Fn(String) -> ServiceError {
    move |what| ServiceError::NotDone { request, what }
}

/// Takes a step that somebody asks for.
fn step(entry: &Entry, request: Request) -> Result<(), ServiceError> {
    entry.step(Step::Request(request)).map(|_| ()).map_err(|illegal| ServiceError::Illegal { request, illegal })
}

/// Fails if the state does not allow it; changes nothing.
fn check(entry: &Entry, request: Request) -> Result<(), ServiceError> {
    let phase = entry.record().phase;
    phase.after(Step::Request(request)).map(|_| ()).map_err(|illegal| ServiceError::Illegal { request, illegal })
}

/// To ask something of a job that runs.
pub(super) fn running(entry: &Entry, request: Request) -> Result<(JobView, Arc<Prepared>), ServiceError> {
    check(entry, request)?;
    let view = entry.live().view.clone();
    view.ok_or_else(|| not_done(request)("the job has just ended".into()))
}

impl Inner {
    /// The folder of a savepoint, opened: that it cannot be is found out before anything happens.
    async fn folder(
        &self,
        entry: &Entry,
        prepared: &Prepared,
        asked: Option<PathBuf>,
        request: Request,
    ) -> Result<PathBuf, ServiceError> {
        let default = || {
            let folder = prepared.spec.savepoints.clone();
            let name = format!("savepoint-{}", self.environment.clock.now_ms());
            folder.map(|folder| folder.join(name))
        };
        let folder = asked.or_else(default).ok_or_else(|| not_done(request)("the job has no folder for it".into()))?;
        let (server, own) = (self.shared.directory.clone(), self.folders.of(&entry.id));
        let folder = own.join(folder);
        let opened = folder.clone();
        blocking(move || {
            Places::new(&server, &own)?.check(&opened)?;
            LocalStore::open(opened).map(drop).map_err(ServiceError::Folder)
        })
        .await?;
        Ok(folder)
    }

    async fn stop(&self, entry: &Arc<Entry>, stop: Stop) -> Result<Stopped, ServiceError> {
        let (view, prepared) = running(entry, Request::Stop)?;
        let savepoint = match stop.savepoint {
            Some(asked) => Some(self.folder(entry, &prepared, asked, Request::Stop).await?),
            None => None,
        };
        step(entry, Request::Stop)?;
        let persisted = entry.persist().await;
        let last = if stop.drain { Last::Drain } else { Last::Stop };
        let end = async {
            match &savepoint {
                Some(folder) => view.end_with_savepoint(folder.clone(), last).await,
                None => view.checkpoint(last).await.map(drop),
            }
        };
        let done = entry.reply(end, in_vain).await;
        if let (Ok(()), Some(folder)) = (&done, &savepoint) {
            entry.saved(folder.clone());
        }
        let state = entry.until(|state| !matches!(state, State::Stopping | State::Cancelling)).await;
        match (state, done) {
            // A job that has come to its end by itself has stopped too.
            (State::Finished, Err(_)) if savepoint.is_none() => {}
            (State::Stopped | State::Finished, Ok(())) => {}
            (state, done) => {
                // It runs on, and is to after a crash of the server, which would take it for stopped.
                entry.persist_or_log().await;
                let what = done.err().unwrap_or_else(|| format!("the job is {state} now"));
                return Err(not_done(Request::Stop)(what));
            }
        }
        entry.persist().await.and(persisted)?;
        Ok(Stopped { job: entry.info(), savepoint })
    }

    async fn cancel(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<JobInfo, ServiceError> {
        step(entry, Request::Cancel)?;
        let persisted = entry.persist().await;
        let prepared = entry.live().view.as_ref().map(|(_, prepared)| prepared.clone());
        self.abort(entry).await;
        entry.live().next = None;
        self.clear_or_log(entry, prepared).await;
        // It may have ended by itself in the same moment.
        let _ = entry.end(Step::Cancelled, None).await;
        entry.persist().await.and(persisted)?;
        Ok(entry.info())
    }

    /// Deletes the checkpoints of a job that was cancelled, if it says so. One that was not prepared yet is asked by its text.
    async fn clear(self: &Arc<Self>, entry: &Arc<Entry>, prepared: Option<Arc<Prepared>>) -> Result<(), ServiceError> {
        let (inner, entry) = (self.clone(), entry.clone());
        let store = blocking(move || {
            let spec = match prepared {
                Some(prepared) => prepared.spec.checkpoints.clone(),
                None => inner.specification(&entry.record().clone())?.checkpoints,
            };
            let deleted = spec.filter(|spec| spec.on_cancel == OnCancel::Delete);
            Ok(deleted.map(|spec| LocalStore::open(spec.directory)).transpose().map_err(RunError::from)?)
        });
        match store.await? {
            Some(store) => Ok(remove_all(&store).await.map_err(RunError::from)?),
            None => Ok(()),
        }
    }

    /// The same, where nobody can be told that it failed.
    pub(super) async fn clear_or_log(self: &Arc<Self>, entry: &Arc<Entry>, prepared: Option<Arc<Prepared>>) {
        if let Err(error) = self.clear(entry, prepared).await {
            tracing::error!(job = entry.id, "not all checkpoints of the cancelled job could be deleted: {error}");
        }
    }

    async fn restart(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<JobInfo, ServiceError> {
        check(entry, Request::Restart)?;
        let (name, checkpoints, parallelism) = {
            let record = entry.record();
            (record.name.clone(), record.checkpoints.clone(), record.parallelism.clone())
        };
        let _reservation = self.reserve(&name, &checkpoints, Some(&entry.id))?;
        let ready = self.prepare(entry, parallelism).await;
        self.open()?;
        let is_there = {
            let entries = self.entries();
            let is_there = entries.contains_key(&entry.id);
            if is_there && ready.is_ok() {
                step(entry, Request::Restart)?;
            }
            is_there
        };
        if !is_there {
            // It was deleted meanwhile, and preparing it may have made its folder again. If that stays, the next server removes it.
            let (folders, id) = (self.folders.clone(), entry.id.clone());
            if let Err(error) = blocking(move || folders.remove(&id)).await {
                tracing::warn!(job = entry.id, "what is left of the deleted job cannot be removed: {error}");
            }
            return Err(ServiceError::NoJob(entry.id.clone()));
        }
        let ready = ready?;
        if let Err(error) = entry.persist().await {
            entry.fail(&error).await;
            return Err(error);
        }
        if self.start(entry, Some(ready)) {
            return Ok(entry.info());
        }
        self.open()?;
        Err(not_done(Request::Restart)(format!("the job is {} now", entry.state())))
    }

    async fn savepoint(&self, entry: &Arc<Entry>, asked: Option<PathBuf>) -> Result<PathBuf, ServiceError> {
        let (view, prepared) = running(entry, Request::Savepoint)?;
        let folder = self.folder(entry, &prepared, asked, Request::Savepoint).await?;
        let taken = entry.reply(view.savepoint(folder.clone(), false), in_vain).await;
        taken.map_err(not_done(Request::Savepoint))?;
        entry.saved(folder.clone());
        entry.persist_or_log().await;
        Ok(folder)
    }

    async fn rescale(self: &Arc<Self>, entry: &Arc<Entry>, rescale: Parallelism) -> Result<JobInfo, ServiceError> {
        check(entry, Request::Rescale)?;
        if rescale == Parallelism::default() {
            return Err(ServiceError::Parallelism(
                "name the parallelism of the job, or of one of its operators".into(),
            ));
        }
        let parallelism = rescale.over(&entry.record().parallelism);
        let ready = self.prepare(entry, parallelism).await?;
        let (view, _) = running(entry, Request::Rescale)?;
        step(entry, Request::Rescale)?;
        entry.live().next = Some(ready);
        let end = entry.reply(view.checkpoint(Last::Stop), |state| state != State::Stopping).await;
        if let Err(what) = end {
            // It has ended before anybody could tell that the checkpoint is durable, or the checkpoint has failed.
            if entry.live().next.take().is_some() {
                return Err(not_done(Request::Rescale)(what));
            }
        }
        let state = entry.until(|state| !matches!(state, State::Stopping | State::Starting)).await;
        let info = entry.info();
        match (state, &info.error) {
            (State::Running | State::Restarting | State::Finished, _) => Ok(info),
            (_, Some(error)) => Err(not_done(Request::Rescale)(error.clone())),
            _ => Err(not_done(Request::Rescale)(format!("the job is {state} now"))),
        }
    }

    async fn delete(&self, entry: &Arc<Entry>) -> Result<(), ServiceError> {
        {
            let mut entries = self.entries();
            step(entry, Request::Delete)?;
            entries.remove(&entry.id);
        }
        // It has ended, and notes that: nothing is to be written any more.
        let work = entry.live().work.take();
        if let Some(work) = work {
            let _ = work.await;
        }
        self.logs.remove(&entry.id);
        let (folders, id) = (self.folders.clone(), entry.id.clone());
        blocking(move || folders.remove(&id)).await
    }
}
