//! All jobs of a server: found again when it starts, taken in, looked up, ended with it.
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, broadcast},
};
use uuid::{NoContext, Timestamp, Uuid};

use super::{
    Change, JobEvent, JobInfo, JobLogs, LogLine, Parallelism, Phase, ServiceError, State, Step,
    entry::Entry,
    events::Events,
    graph::{SAMPLE_INTERVAL, Sample, sample},
    prepare::{self, Ready, Shared},
    record::{Folders, Record},
};
use crate::{
    control::{JobView, PluginSource, RunError},
    dataflow::{Environment, Last},
    job::JobSpec,
    model::Clock,
};

/// Jobs that are kept, finished ones included.
pub const JOBS_MAX: usize = 10_000;

/// Jobs whose plugins are compiled at the same time.
const PREPARED_MAX: usize = 4;

/// Where jobs are kept, and what their variables may stand for.
#[derive(Clone)]
pub struct JobsSettings {
    /// Jobs are in its folder `jobs`; of one server at a time.
    pub directory: PathBuf,
    /// A folder of files, each the value of the variable of its name.
    pub secrets: Option<PathBuf>,
    /// Variables that every job may use.
    pub variables: BTreeMap<String, String>,
    /// For tests: the process aborts once so many checkpoints of a job are complete, before its sinks commit.
    pub crash_at_checkpoint: Option<NonZeroU64>,
    /// Told of changes that nobody has asked for.
    pub changes: Arc<dyn ChangeLog>,
}

/// Notes changes of operators that nobody has asked for: a version on trial or a canary that has failed.
pub trait ChangeLog: Send + Sync {
    /// Notes one of a job with this name and id; may wait for the disk. The job goes on once it returns.
    fn note(&self, name: &str, id: &str, change: &Change);
}

/// Notes nothing.
impl ChangeLog for () {
    fn note(&self, _: &str, _: &str, _: &Change) {}
}

/// A job to be run.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// The job file: YAML, or JSON.
    pub text: String,
    /// Values for `${NAME}` in it.
    pub variables: BTreeMap<String, String>,
    /// Where it starts from; `None` for its latest checkpoint, if it has any.
    pub from_savepoint: Option<PathBuf>,
    /// Whether state that no node of the job asks for may be left behind.
    pub allow_non_restored_state: bool,
}

/// The jobs of a server. Clones share.
#[derive(Clone)]
pub struct Jobs(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) folders: Arc<Folders>,
    pub(super) shared: Arc<Shared>,
    pub(super) source: Arc<dyn PluginSource>,
    pub(super) environment: Environment,
    /// The data path's threads.
    pub(super) data: Handle,
    pub(super) logs: JobLogs,
    events: Arc<Events>,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
    /// Jobs that are about to be unfinished.
    reserved: Mutex<Vec<Reserved>>,
    pub(super) preparing: Semaphore,
    pub(super) crash_at_checkpoint: Option<NonZeroU64>,
    changes: Arc<dyn ChangeLog>,
    closing: AtomicBool,
}

/// A job that is about to be unfinished.
pub(super) struct Reserved {
    name: String,
    checkpoints: PathBuf,
    /// As in a record.
    plugins: BTreeSet<String>,
}

/// A name and a folder that no other job takes meanwhile, and plugins that are not deleted.
pub(super) struct Reservation {
    inner: Arc<Inner>,
    name: String,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inner.reserved().retain(|reserved| reserved.name != self.name);
    }
}

impl Reservation {
    /// Has plugins not be deleted meanwhile; whether that is new.
    fn want(&self, plugins: BTreeSet<String>) -> bool {
        let mut reserved = self.inner.reserved();
        let own = reserved.iter_mut().find(|reserved| reserved.name == self.name);
        own.is_some_and(|own| std::mem::replace(&mut own.plugins, plugins) != own.plugins)
    }
}

impl Jobs {
    /// Opens the jobs of a directory, and goes on with those that are to run. What is not a job's task runs on the current runtime;
    /// `data` runs the tasks. Fails if another process has the directory, or if a record cannot be read.
    pub async fn open(
        settings: JobsSettings,
        source: Arc<dyn PluginSource>,
        environment: Environment,
        data: Handle,
        logs: JobLogs,
    ) -> Result<Jobs, ServiceError> {
        let JobsSettings { directory, secrets, variables, crash_at_checkpoint, changes } = settings;
        let now_ms = environment.clock.now_ms();
        let (opened, clock) = (directory.clone(), environment.clock.clone());
        let (folders, records, cancelling, events) = blocking(move || {
            let (folders, records, cancelling) = reopen(&opened, now_ms)?;
            let folders = Arc::new(folders);
            let events = Arc::new(Events::new(folders.clone(), clock)?);
            Ok((folders, records, cancelling, events))
        })
        .await?;
        let inner = Arc::new(Inner {
            folders: folders.clone(),
            shared: Arc::new(Shared { directory, variables, secrets }),
            source,
            data,
            logs,
            entries: Mutex::default(),
            reserved: Mutex::default(),
            preparing: Semaphore::new(PREPARED_MAX),
            crash_at_checkpoint,
            changes,
            closing: AtomicBool::new(false),
            events,
            environment,
        });
        for record in records {
            let entry = inner.add(record);
            if cancelling.contains(&entry.id) {
                inner.clear_or_log(&entry, None).await;
                entry.persist_or_log().await;
            } else if entry.state() == State::Starting {
                inner.start(&entry, None);
            }
        }
        tokio::spawn(sample_all(Arc::downgrade(&inner), inner.environment.clock.clone()));
        Ok(Jobs(inner))
    }

    /// Takes a job in and starts it. Fails if it cannot be run as it is written: then nothing is left of it.
    pub async fn submit(&self, submission: Submission) -> Result<JobInfo, ServiceError> {
        let inner = self.0.clone();
        detached(async move { inner.submit(submission).await }).await
    }

    /// Ends all jobs in order, each with a last checkpoint, as far as that is done within `limit`; the others end where they are. The
    /// next server that opens the directory goes on with them. Nothing can be asked for any more.
    pub async fn shutdown(&self, limit: Duration) {
        self.0.closing.store(true, Relaxed);
        let entries: Vec<_> = self.0.entries().values().cloned().collect();
        let all = join_all(entries.iter().map(|entry| self.0.suspend(entry)));
        let clock = &self.0.environment.clock;
        tokio::select! {
            _ = all => {}
            () = clock.sleep_until(clock.monotonic() + limit) => {
                tracing::warn!("not all jobs have ended in time with a last checkpoint: they go on from an earlier one");
            }
        }
        join_all(entries.iter().map(|entry| self.0.abort(entry))).await;
    }

    /// The events kept that came after `after`, and all to come. A listener that is too far behind loses some.
    pub fn events(&self, after: Option<u64>) -> (Vec<Arc<JobEvent>>, broadcast::Receiver<Arc<JobEvent>>) {
        self.0.events.since(after)
    }

    /// The latest `count` log lines of a job, oldest first.
    pub fn logs(&self, job: &str, count: usize) -> Result<Vec<LogLine>, ServiceError> {
        Ok(self.0.logs.tail(&self.0.find(job)?.id, count))
    }

    /// Waits until a job's state is one of those. Fails if there is no such job.
    pub async fn until(&self, job: &str, wanted: impl Fn(State) -> bool) -> Result<State, ServiceError> {
        let entry = self.0.find(job)?;
        Ok(entry.until(wanted).await)
    }
}

/// Work that goes on even if nobody waits for it any more.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, ServiceError>> + Send + 'static,
) -> Result<T, ServiceError> {
    tokio::spawn(work).await.unwrap_or_else(|panic| Err(RunError::Panic(panic.to_string()).into()))
}

/// Work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(RunError::Panic(panic.to_string()).into()))
}

/// What earlier servers have left, each job in the phase it has now; and the jobs that they were cancelling, whose records still say so.
fn reopen(directory: &Path, now_ms: i64) -> Result<(Folders, Vec<Record>, Vec<String>), ServiceError> {
    let folders = Folders::open(directory)?;
    let (mut records, mut cancelling) = (folders.load()?, Vec::new());
    for record in &mut records {
        let before = record.phase;
        let phase = before.reopened();
        if phase != before {
            (record.phase, record.changed_ms) = (phase, now_ms);
            match before.state {
                State::Cancelling => cancelling.push(record.id.clone()),
                _ => folders.write(record)?,
            }
        }
    }
    Ok((folders, records, cancelling))
}

/// Takes samples of all running jobs, for as long as there is a server.
async fn sample_all(jobs: Weak<Inner>, clock: Arc<dyn Clock>) {
    let mut next = clock.monotonic();
    while let Some(inner) = jobs.upgrade() {
        for entry in inner.entries().values() {
            let mut live = entry.live();
            if let Some((view, _)) = &live.view {
                let taken = Sample::of(clock.monotonic(), &view.nodes());
                sample(&mut live.samples, taken);
            }
        }
        drop(inner);
        next += SAMPLE_INTERVAL;
        clock.sleep_until(next).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        lock(&self.entries)
    }

    fn reserved(&self) -> MutexGuard<'_, Vec<Reserved>> {
        lock(&self.reserved)
    }

    /// The name of a job that is about to be unfinished and wants a plugin.
    pub(super) fn wants(&self, plugin: &str) -> Option<String> {
        let reserved = self.reserved();
        reserved.iter().find(|reserved| reserved.plugins.contains(plugin)).map(|reserved| reserved.name.clone())
    }

    /// Fails once the server ends.
    pub(super) fn open(&self) -> Result<(), ServiceError> {
        if self.closing.load(Relaxed) { Err(ServiceError::Closing) } else { Ok(()) }
    }

    /// A job by its id or, if it is unfinished, its name.
    pub(super) fn find(&self, job: &str) -> Result<Arc<Entry>, ServiceError> {
        let entries = self.entries();
        let named = || {
            let mut unfinished = entries.values().filter(|entry| !entry.state().is_terminal());
            unfinished.find(|entry| entry.record().name == job)
        };
        entries.get(job).or_else(named).cloned().ok_or_else(|| ServiceError::NoJob(job.to_owned()))
    }

    fn add(&self, record: Record) -> Arc<Entry> {
        let (folders, events, changes) = (self.folders.clone(), self.events.clone(), self.changes.clone());
        let entry = Arc::new(Entry::new(record, folders, events, changes, self.environment.clock.clone()));
        self.logs.open(&entry.id);
        self.entries().insert(entry.id.clone(), entry.clone());
        entry
    }

    /// Makes sure that no other unfinished job has this name, or these checkpoints.
    pub(super) fn reserve(
        self: &Arc<Self>,
        name: &str,
        checkpoints: &Path,
        own: Option<&str>,
    ) -> Result<Reservation, ServiceError> {
        let mut reserved = self.reserved();
        let entries = self.entries();
        let others = entries.values().filter(|entry| own != Some(&entry.id) && !entry.state().is_terminal());
        for other in others {
            let record = other.record();
            let id = record.id.clone();
            if record.name == name {
                return Err(ServiceError::NameTaken { name: name.to_owned(), id });
            }
            if record.checkpoints == checkpoints {
                return Err(ServiceError::CheckpointsTaken { directory: checkpoints.to_owned(), id });
            }
        }
        let soon = "is being submitted";
        if reserved.iter().any(|other| other.name == name) {
            return Err(ServiceError::NameTaken { name: name.to_owned(), id: soon.to_owned() });
        }
        if reserved.iter().any(|other| other.checkpoints == checkpoints) {
            return Err(ServiceError::CheckpointsTaken { directory: checkpoints.to_owned(), id: soon.to_owned() });
        }
        if own.is_none() && entries.len() + reserved.len() >= JOBS_MAX {
            return Err(ServiceError::TooMany(JOBS_MAX));
        }
        let (name, checkpoints) = (name.to_owned(), checkpoints.to_owned());
        reserved.push(Reserved { name: name.clone(), checkpoints, plugins: BTreeSet::new() });
        Ok(Reservation { inner: self.clone(), name })
    }

    /// Parses, compiles and plans a job that has a record.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        parallelism: Parallelism,
    ) -> Result<Ready, ServiceError> {
        // Nobody closes it.
        let _turn = self.preparing.acquire().await;
        let inner = self.clone();
        let record = Record { parallelism, ..entry.record().clone() };
        blocking(move || {
            let prepared = prepare::compile(inner.specification(&record)?, &*inner.source)?;
            prepare::open(prepared, record.parallelism, record.allow_non_restored_state)
        })
        .await
    }

    /// What a job that has a record asks for.
    pub(super) fn specification(&self, record: &Record) -> Result<JobSpec, ServiceError> {
        let (text, folder) = (self.folders.text(&record.id)?, self.folders.of(&record.id));
        prepare::specification(&text, &record.variables, &record.parallelism, &self.shared, &folder)
    }

    async fn submit(self: Arc<Self>, submission: Submission) -> Result<JobInfo, ServiceError> {
        self.open()?;
        let now_ms = self.environment.clock.now_ms();
        let id = job_id(now_ms);
        let (inner, folder) = (self.clone(), self.folders.of(&id));
        let Submission { text, variables, from_savepoint, allow_non_restored_state } = submission;
        let _turn = self.preparing.acquire().await;
        let (prepared, reservation, record) = blocking(move || {
            let none = Parallelism::default();
            let spec = prepare::specification(&text, &variables, &none, &inner.shared, &folder)?;
            let checkpoints = spec.checkpoints.as_ref().map(|spec| spec.directory.clone()).unwrap_or_default();
            let reservation = inner.reserve(&spec.name, &checkpoints, None)?;
            let from_savepoint = from_savepoint.map(|path| std::path::absolute(&path).unwrap_or(path));
            from_savepoint.as_deref().map(prepare::check_savepoint).transpose()?;
            let name = spec.name.clone();
            let mut prepared = prepare::compile(spec.clone(), &*inner.source)?;
            while reservation.want(prepare::plugins(&prepared)) {
                // They may have been deleted just before they were wanted.
                prepared = prepare::compile(spec.clone(), &*inner.source)?;
            }
            let plugins = prepare::plugins(&prepared);
            inner.folders.make(&id, &text)?;
            let record = Record {
                id,
                name,
                phase: Phase::STARTING,
                created_ms: now_ms,
                changed_ms: now_ms,
                variables,
                parallelism: none,
                from_savepoint,
                from_savepoint_until: 0,
                allow_non_restored_state,
                checkpoints,
                plugins,
                error: None,
                savepoint: None,
                versions: Vec::new(),
                trials: Vec::new(),
                history: Vec::new(),
            };
            Ok((prepared, reservation, record))
        })
        .await?;
        let id = record.id.clone();
        let made = self.made(prepared, record).await;
        if made.is_err() {
            let folders = self.folders.clone();
            blocking(move || folders.remove(&id)).await?;
        }
        let (entry, ready) = made?;
        entry.created();
        self.start(&entry, Some(ready));
        drop(reservation);
        Ok(entry.info())
    }

    /// A job whose folder is made becomes one of the server's.
    async fn made(
        self: &Arc<Self>,
        prepared: Arc<crate::control::Prepared>,
        mut record: Record,
    ) -> Result<(Arc<Entry>, Ready), ServiceError> {
        let allow = record.allow_non_restored_state;
        let ready = blocking(move || prepare::open(prepared, Parallelism::default(), allow)).await?;
        record.from_savepoint_until = prepare::latest_checkpoint(&ready.options).await?;
        let (folders, written) = (self.folders.clone(), record.clone());
        blocking(move || folders.write(&written)).await?;
        Ok((self.add(record), ready))
    }

    /// Ends a job with a last checkpoint, to be gone on with. One that cannot take any is left to [`abort`](Inner::abort), and so is one with a
    /// version on trial with its state: of that no checkpoint is to be taken.
    async fn suspend(&self, entry: &Arc<Entry>) {
        let view = entry.live().view.as_ref().map(|(view, _)| view.clone());
        // A version that comes into force just now may be one on trial with its state.
        let _unchanged = match &view {
            Some(view) => Some(view.unchanged().await),
            None => None,
        };
        let holds = view.as_ref().is_some_and(JobView::holds_checkpoints);
        if holds && entry.state() == State::Running {
            return;
        }
        if entry.step(Step::Suspend).is_ok()
            && let Some(view) = &view
            && let Err(what) = entry.reply(view.checkpoint(Last::Stop), |state| state != State::Stopping).await
        {
            tracing::warn!(job = entry.id, "no last checkpoint: {what}");
        }
        // What is ending by itself is waited for, nothing else.
        let state = entry.until(|state| !matches!(state, State::Stopping | State::Cancelling)).await;
        let work = entry.live().work.take_if(|_| state.is_terminal());
        if let Some(work) = work {
            // Until it has noted the end. A panic was told when it happened.
            let _ = work.await;
        }
    }

    /// Ends whatever of a job still runs, where it is.
    pub(super) async fn abort(&self, entry: &Arc<Entry>) {
        let work = entry.live().work.take();
        if let Some(work) = work {
            work.abort();
            // That it was aborted is no news; a panic was told when it happened.
            let _ = work.await;
        }
        entry.alive.none().await;
        entry.close();
    }
}

/// Ids of later jobs are higher.
fn job_id(now_ms: i64) -> String {
    let now_ms = u64::try_from(now_ms).unwrap_or(0);
    let nanoseconds = (now_ms % 1000) as u32 * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1000, nanoseconds)).to_string()
}
