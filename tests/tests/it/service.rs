//! The jobs of a server, against the library, with real plugins: stopped, gone on with from savepoints and after crashes, rescaled. The
//! output is always that of a job nobody disturbed. Must not know how requests come in.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use tokio::{runtime::Runtime, sync::broadcast};
use wasmill::{
    control::{LocalPlugins, PluginSource},
    model::SystemClock,
    service::{
        Desired, EventKind, JobEvent, JobInfo, JobLogs, Jobs, JobsSettings, Parallelism, Request, ServiceError, State,
        Stop, Submission,
    },
};

use super::{
    jobs,
    process::{Folder, expected, transactions},
};

/// The longest a test waits in all: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server's jobs, and the threads of everything.
pub(super) struct Server {
    pub runtime: Runtime,
    pub jobs: Jobs,
}

impl Server {
    pub fn open(directory: &Path) -> Server {
        Server::with(directory, BTreeMap::new(), None)
    }

    pub fn with(directory: &Path, variables: BTreeMap<String, String>, secrets: Option<PathBuf>) -> Server {
        Server::of(directory, variables, secrets, Arc::new(LocalPlugins::new(jobs::engine(), false)))
    }

    pub fn of(
        directory: &Path,
        variables: BTreeMap<String, String>,
        secrets: Option<PathBuf>,
        source: Arc<dyn PluginSource>,
    ) -> Server {
        let runtime = jobs::runtime();
        let directory = directory.to_owned();
        let settings = JobsSettings { directory, secrets, variables, crash_at_checkpoint: None, changes: Arc::new(()) };
        let (handle, logs) = (runtime.handle().clone(), JobLogs::new(Arc::new(SystemClock::new())));
        let opened = runtime.block_on(Jobs::open(settings, source, jobs::environment(), handle, logs));
        Server { runtime, jobs: opened.unwrap_or_else(|error| panic!("{error}")) }
    }

    #[track_caller]
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).expect("it does not end")
    }

    #[track_caller]
    pub fn submit(&self, text: &str) -> String {
        self.submit_from(text, None)
    }

    #[track_caller]
    fn submit_from(&self, text: &str, from_savepoint: Option<PathBuf>) -> String {
        let submission = Submission { text: text.to_owned(), from_savepoint, ..Submission::default() };
        self.run(self.jobs.submit(submission)).unwrap_or_else(|error| panic!("{error}")).id
    }

    /// Waits for a state; any other in which a job stays is a failure.
    #[track_caller]
    pub fn until(&self, job: &str, wanted: State) -> JobInfo {
        let state = self.run(self.jobs.until(job, |state| state == wanted || state.is_terminal())).unwrap();
        let info = self.jobs.get(job).unwrap();
        assert_eq!(state, wanted, "{info:?}");
        info
    }

    fn drain(&self, job: &str) -> Result<State, ServiceError> {
        let stop = Stop { drain: true, ..Stop::default() };
        self.run(self.jobs.stop(job, stop)).map(|stopped| stopped.job.state)
    }

    /// All that runs is dropped where it is.
    pub fn crash(self) {
        drop(self);
    }
}

/// Detects fraud in a folder's two files, which grow.
pub(super) fn text(folder: &Folder, name: &str, follow: bool) -> String {
    let mut text = format!("name: {name}\ncheckpoints: {{ directory: checkpoints, interval: 50ms }}\nsources:\n");
    for file in ["left", "right"] {
        let path = folder.path(file).with_extension("jsonl");
        text += &format!(
            "  {file}: {{ file: {{ path: '{}', follow: {follow}, poll: 5ms }}, format: json, parallelism: 1, schema: \
             {{ user: i64, amount: i64, timestamp: i64 }}, time: {{ column: timestamp }} }}\n",
            path.display()
        );
    }
    let (plugin, out) = (jobs::plugin("fraud-detection"), folder.path("alerts"));
    text += &format!(
        "operators: {{ alerts: {{ input: [left, right], key: user, keyed_process: {{ plugin: '{plugin}' }} }} }}\n"
    );
    text + &format!("sinks: {{ out: {{ input: alerts, file: {{ path: '{}' }} }} }}\n", out.display())
}

/// Half of the input, and all that is to be written in the end.
pub(super) fn half_fed(seed: u64) -> (Folder, Vec<String>) {
    let records = transactions(&mut Rng::with_seed(seed), 3000);
    let mut folder = Folder::new(&records);
    folder.feed(folder.left() / 2);
    (folder, expected(&records))
}

/// Waits for the event after which something holds.
async fn event(events: &mut broadcast::Receiver<Arc<JobEvent>>, mut holds: impl FnMut(&JobEvent) -> bool) {
    while !holds(&events.recv().await.expect("no event is missed")) {}
}

/// Waits until a job has read so many rows since it was started, looking whenever a checkpoint is complete.
fn read(server: &Server, job: &str, rows: u64) {
    let (_, mut events) = server.jobs.events(None);
    let seen = || {
        let nodes = server.jobs.graph(job).unwrap().nodes;
        nodes.iter().filter(|node| node.role == "source").map(|node| node.records_out).sum::<u64>()
    };
    server.run(event(&mut events, |_| seen() >= rows));
}

/// Waits until so many alerts are visible, looking whenever a checkpoint is complete.
fn alerts(server: &Server, folder: &Folder, count: usize) {
    let (_, mut events) = server.jobs.events(None);
    server.run(event(&mut events, |_| folder.visible("alerts").len() >= count));
}

#[test]
fn a_job_runs_to_its_end_and_its_variables_are_kept_nowhere() {
    let (directory, secrets, input) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(input.path().join("lines"), "the cat\nthe hat\n").unwrap();
    std::fs::write(secrets.path().join("IN"), format!("{}\n", input.path().join("lines").display())).unwrap();
    let variables = BTreeMap::from([("WORD_COUNT".to_owned(), jobs::plugin("word-count"))]);
    let server = Server::with(directory.path(), variables, Some(secrets.path().to_owned()));
    let text = "
name: words
sources: { lines: { file: { path: '${IN}' } } }
operators:
  words: { input: lines, transform: { plugin: '${WORD_COUNT}' } }
  counts: { input: words, key: word, window: { global: {}, trigger: event_time }, aggregate: { plugin: '${WORD_COUNT}' } }
sinks: { out: { input: counts, file: { path: '${OUT}' } } }";
    let given = BTreeMap::from([("OUT".to_owned(), input.path().join("out").display().to_string())]);
    let submission = |variables| Submission { text: text.to_owned(), variables, ..Submission::default() };
    let error = server.run(server.jobs.submit(submission(BTreeMap::new()))).unwrap_err();
    assert!(error.code() == "J0102" && error.to_string().contains("`OUT`"), "{error}");
    assert!(server.jobs.list(None, 10).is_empty());

    let id = server.run(server.jobs.submit(submission(given))).unwrap_or_else(|error| panic!("{error}")).id;
    let info = server.until(&id, State::Finished);
    assert_eq!((info.name.as_str(), info.desired, info.variables), ("words", Desired::Ended, vec!["OUT".to_owned()]));
    let lines = jobs::lines(&input.path().join("out"));
    let counted = ["cat", "hat", "the"].iter().zip([1, 1, 2]).all(|(word, count)| {
        lines.iter().any(|line| line.contains(&format!("\"{word}\"")) && line.contains(&format!(":{count}")))
    });
    assert!(counted && lines.len() == 3, "{lines:?}");
    let graph = server.jobs.graph(&id).unwrap();
    let shape: Vec<_> = graph.nodes.iter().map(|node| (node.name.as_str(), node.role, node.records_in)).collect();
    let nodes = [("lines", "source", 2), ("words", "operator", 2), ("counts", "operator", 4), ("out", "sink", 3)];
    assert_eq!(shape, nodes);
    assert!(graph.edges.iter().any(|edge| (&*edge.from, &*edge.to, edge.exchange) == ("words", "counts", "forward")));

    let folder = directory.path().join("jobs").join(&id);
    assert_eq!(server.jobs.text(&id).unwrap(), text);
    let kept = ["job.yaml", "record.json"].map(|file| std::fs::read_to_string(folder.join(file)).unwrap()).concat();
    assert!(!kept.contains(&*input.path().join("lines").display().to_string()), "{kept}");
    assert_eq!(server.jobs.get("words").unwrap_err().code(), "V0101");
    server.crash();
    let server = Server::open(directory.path());
    assert_eq!(server.jobs.get(&id).unwrap().state, State::Finished);
    server.run(server.jobs.delete(&id)).unwrap();
    assert!(!folder.exists() && server.jobs.get(&id).unwrap_err().code() == "V0101");
}

#[test]
fn a_savepoint_of_one_job_is_where_another_goes_on() {
    let (directory, (mut folder, all)) = (tempfile::tempdir().unwrap(), half_fed(11));
    let server = Server::open(directory.path());
    let first = server.submit(&text(&folder, "fraud", true));
    alerts(&server, &folder, 1);
    let again = Submission { text: text(&folder, "fraud", true), ..Submission::default() };
    assert_eq!(server.run(server.jobs.submit(again)).unwrap_err().code(), "V0102");
    let on_the_way = server.run(server.jobs.savepoint("fraud", None)).unwrap();
    assert!(on_the_way.starts_with(directory.path().join("jobs").join(&first).join("savepoints")), "{on_the_way:?}");
    let saved = folder.path("saved");
    let stop = Stop { savepoint: Some(Some(saved.clone())), drain: false };
    let stopped = server.run(server.jobs.stop(&first, stop)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((stopped.job.state, stopped.savepoint.as_ref()), (State::Stopped, Some(&saved)));
    let visible = folder.visible("alerts").len();
    assert!(visible > 0 && visible < all.len());

    folder.feed_all();
    let none = Submission {
        text: text(&folder, "b", false),
        from_savepoint: Some(folder.path("no")),
        ..Submission::default()
    };
    assert_eq!(server.run(server.jobs.submit(none)).unwrap_err().code(), "C0510");
    let second = server.submit_from(&text(&folder, "fraud", false), Some(saved));
    server.until(&second, State::Finished);
    folder.check("alerts", &all);
    assert_eq!(server.jobs.list(Some(&first), 10).iter().map(|job| &job.id).collect::<Vec<_>>(), [&second]);
}

#[test]
fn a_server_goes_on_where_the_one_before_was_when_it_crashed_or_ended() {
    let (directory, (mut folder, all)) = (tempfile::tempdir().unwrap(), half_fed(12));
    let server = Server::open(directory.path());
    let id = server.submit(&text(&folder, "fraud", true));
    alerts(&server, &folder, 1);
    server.crash();
    folder.feed(folder.left() / 2);

    let server = Server::open(directory.path());
    server.until(&id, State::Running);
    let (_, mut events) = server.jobs.events(None);
    server.run(event(&mut events, |event| event.kind == EventKind::Checkpoint));
    server.run(server.jobs.shutdown(PATIENCE));
    assert_eq!(server.jobs.get(&id).unwrap().state, State::Stopped);
    assert_eq!(server.run(server.jobs.restart(&id)).unwrap_err().code(), "V0109");
    server.crash();
    folder.feed_all();

    let server = Server::open(directory.path());
    server.until(&id, State::Running);
    alerts(&server, &folder, all.len());
    assert_eq!(server.drain(&id).unwrap(), State::Finished);
    folder.check("alerts", &all);
}

#[test]
fn a_job_goes_on_with_another_parallelism_and_after_it_was_cancelled() {
    let (directory, (mut folder, all)) = (tempfile::tempdir().unwrap(), half_fed(13));
    let server = Server::open(directory.path());
    let id = server.submit(&text(&folder, "fraud", true));
    alerts(&server, &folder, 1);
    let rescale = |job, nodes: &[(&str, u32)]| {
        let nodes = nodes.iter().map(|(name, parallelism)| ((*name).to_owned(), *parallelism)).collect();
        server.run(server.jobs.rescale(&id, Parallelism { job, nodes }))
    };
    assert_eq!(rescale(None, &[("nobody", 2)]).unwrap_err().code(), "V0106");
    assert_eq!(rescale(None, &[]).unwrap_err().code(), "V0106");
    let subtasks = |name| {
        let graph = server.jobs.graph(&id).unwrap();
        graph.nodes.into_iter().find(|node| node.name == name).map(|node| node.parallelism)
    };
    assert_eq!(rescale(Some(2), &[("alerts", 3)]).unwrap().state, State::Running);
    assert_eq!(["left", "alerts", "out"].map(subtasks), [Some(1), Some(3), Some(2)]);
    folder.feed(folder.left() / 2);
    let number = server.run(server.jobs.checkpoint("fraud")).unwrap();
    let kept = server.run(server.jobs.checkpoints(&id)).unwrap();
    assert!(kept.iter().any(|info| info.checkpoint == number && info.took_ms.is_some()), "{number}: {kept:?}");

    let cancelled = server.run(server.jobs.cancel(&id)).unwrap();
    assert_eq!((cancelled.state, cancelled.desired), (State::Cancelled, Desired::Ended));
    let error = server.run(server.jobs.stop(&id, Stop::default())).unwrap_err();
    assert!(matches!(error, ServiceError::Illegal { request: Request::Stop, .. }), "{error}");
    assert!(error.to_string().contains("the job is cancelled: stop is not possible, only restart, delete"), "{error}");
    folder.feed_all();
    server.run(server.jobs.restart(&id)).unwrap();
    alerts(&server, &folder, all.len());
    assert_eq!(subtasks("alerts"), Some(3));
    assert_eq!(server.run(server.jobs.delete(&id)).unwrap_err().code(), "V0103");
    assert_eq!(server.drain(&id).unwrap(), State::Finished);
    folder.check("alerts", &all);
    assert_eq!(server.run(server.jobs.restart(&id)).unwrap_err().code(), "V0103");
}

#[test]
fn a_drained_job_has_processed_what_it_had_read_and_one_that_fails_concerns_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("in"), "{\"at\":1,\"word\":\"a\"}\n{\"at\":2,\"word\":\"a\"}\n").unwrap();
    std::fs::write(path("bad"), "{\"at\":1,\"word\":\"a\"}\nnothing\n").unwrap();
    let text = |name: &str| {
        let (input, out, plugin) = (path(name), path(&format!("{name}-out")), jobs::plugin("word-count"));
        format!(
            "
name: {name}
checkpoints: {{ directory: checkpoints, interval: 20ms }}
sources: {{ in: {{ file: {{ path: '{input}', follow: true, poll: 5ms }}, format: json, schema: {{ at: i64, word: string }}, time: {{ column: at }} }} }}
operators: {{ counts: {{ input: in, key: word, window: {{ tumbling: 1h }}, aggregate: {{ plugin: '{plugin}' }} }} }}
sinks: {{ out: {{ input: counts, file: {{ path: '{out}' }} }} }}"
        )
    };
    let server = Server::open(&directory.path().join("server"));
    let (good, bad) = (server.submit(&text("in")), server.submit(&text("bad")));
    let failed = server.until(&bad, State::Failed);
    assert!(failed.code.as_ref().is_some_and(|code| code == "R0501"), "{failed:?}");
    let (events, _) = server.jobs.events(Some(0));
    let of_bad: Vec<_> =
        events.iter().filter(|event| event.job == bad && event.kind != EventKind::Checkpoint).collect();
    let told: Vec<_> = of_bad.iter().map(|event| (event.kind, event.detail["to"].as_str().unwrap_or("-"))).collect();
    let state = EventKind::State;
    assert_eq!(told, [(state, "starting"), (state, "running"), (EventKind::Failure, "-"), (state, "failed")]);

    read(&server, &good, 2);
    assert!(jobs::lines(Path::new(&path("in-out"))).is_empty());
    assert_eq!(server.drain(&good).unwrap(), State::Finished);
    let lines = jobs::lines(Path::new(&path("in-out")));
    assert!(lines.len() == 1 && lines[0].contains(":2"), "{lines:?}");

    // Once the cause is gone it goes on.
    std::fs::write(
        path("bad"),
        "{\"at\":1,\"word\":\"a\"}\n{\"at\":2}\n".replace("{\"at\":2}", "{\"at\":2,\"word\":\"b\"}"),
    )
    .unwrap();
    server.run(server.jobs.restart(&bad)).unwrap();
    read(&server, &bad, 2);
    assert_eq!(server.drain(&bad).unwrap(), State::Finished);
    assert_eq!(jobs::lines(Path::new(&path("bad-out"))).len(), 2);
}
