//! A job as a process: the program run on a job file in a folder of its own, with input that grows, watched by what it logs, told to
//! stop or killed. Guarantees: a process does not outlive its test; waiting is for what it says, and ends in a failure if it never
//! says it. Must not know what is tested.
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use fastrand::Rng;
use tempfile::TempDir;
use wasmill_tests::simulation::case::CASES;

use super::jobs;

/// What it logs once a checkpoint is complete.
pub const COMPLETE: &str = ": complete checkpoint=";

/// The longest wait for something that is to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much of what it said is shown where a test fails.
const LINES_SHOWN: usize = 100;

/// The input files.
const FILES: [&str; 2] = ["left", "right"];

/// How the job is run, this time.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    pub parallelism: u32,
    pub rocksdb: bool,
    /// Whether it waits for more input, rather than to end.
    pub follow: bool,
    /// Of checkpoints: fields beyond the directory.
    pub checkpoints: &'a str,
    /// Each detects fraud, and has a sink that writes into a folder of its name.
    pub operators: &'a [&'a str],
}

impl Setup<'_> {
    /// The job file.
    pub fn text(&self) -> String {
        let state = if self.rocksdb { "{ backend: rocksdb, directory: state }" } else { "{ backend: memory }" };
        let mut text = format!(
            "name: fraud\nparallelism: {}\nstate: {state}\ncheckpoints: {{ directory: checkpoints{} }}\nsavepoints: savepoints\nrestart: none\nsources:\n",
            self.parallelism, self.checkpoints
        );
        for file in FILES {
            text += &format!(
                "  {file}: {{ file: {{ path: {file}.jsonl, follow: {}, poll: 5ms }}, format: json, parallelism: 1, \
                 schema: {{ user: i64, amount: i64, timestamp: i64 }}, time: {{ column: timestamp }} }}\n",
                self.follow
            );
        }
        text += "operators:\n";
        for operator in self.operators {
            let plugin = jobs::plugin("fraud-detection");
            text += &format!(
                "  {operator}: {{ input: [left, right], key: user, keyed_process: {{ plugin: '{plugin}' }} }}\n"
            );
        }
        text += "sinks:\n";
        for operator in self.operators {
            text += &format!("  {operator}-out: {{ input: {operator}, file: {{ path: {operator} }} }}\n");
        }
        text
    }
}

/// A transaction of one of 40 users, none of whom is in another of so many `files`.
pub fn transaction(random: &mut Rng, file: u64, files: u64, at: u64) -> String {
    let user = random.u64(..40) * files + file;
    let amount = if random.bool() { random.u64(1..100) } else { random.u64(5_000..20_000) };
    format!(r#"{{"user":{user},"amount":{amount},"timestamp":{at}}}"#)
}

/// Transactions of a file each, in the order of time; a user's are all in one.
pub fn transactions(random: &mut Rng, each: usize) -> [Vec<String>; 2] {
    [0, 1].map(|file| {
        let mut at = 0;
        let mut next = || {
            at += random.u64(1..2000);
            transaction(random, file, 2, at)
        };
        (0..each).map(|_| next()).collect()
    })
}

/// What a sequential program makes of transactions, sorted.
pub fn expected(records: &[Vec<String>]) -> Vec<String> {
    let case = CASES.iter().find(|case| case.name == "fraud").expect("a case of this name");
    let numbered = |records: &Vec<String>| (0..).zip(records.iter().cloned()).collect();
    (case.expected)(&records.iter().map(numbered).collect::<Vec<_>>())
}

/// A job's folder, and the input that is still to be written there.
pub struct Folder {
    directory: TempDir,
    rest: [Vec<u8>; 2],
}

impl Folder {
    /// One with empty files, to be filled with these records.
    pub fn new(records: &[Vec<String>; 2]) -> Folder {
        let directory = tempfile::tempdir().unwrap();
        for file in FILES {
            File::create(directory.path().join(file).with_extension("jsonl")).unwrap();
        }
        let rest = records.each_ref().map(|records| (records.join("\n") + "\n").into_bytes());
        Folder { directory, rest }
    }

    /// Another of the same content.
    pub fn copy(&self) -> Folder {
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("cp").arg("-r").arg(self.path(".")).arg(directory.path()).status().unwrap();
        assert!(status.success());
        Folder { directory, rest: self.rest.clone() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Bytes that are still to be written to the larger file.
    pub fn left(&self) -> usize {
        self.rest.iter().map(Vec::len).max().unwrap_or_default()
    }

    /// Writes so many bytes more to each file, wherever in a line that ends.
    pub fn feed(&mut self, bytes: usize) {
        for (file, rest) in FILES.iter().zip(&mut self.rest) {
            let path = self.directory.path().join(file).with_extension("jsonl");
            let more = rest.drain(..bytes.min(rest.len())).collect::<Vec<_>>();
            File::options().append(true).open(path).unwrap().write_all(&more).unwrap();
        }
    }

    /// Writes all there is.
    pub fn feed_all(&mut self) {
        self.feed(usize::MAX);
    }

    /// Starts `wasmill run`.
    pub fn start(&self, setup: &Setup, arguments: &[&str]) -> Life {
        Life::start(self.directory.path(), &setup.text(), arguments)
    }

    /// Runs the job to its end, which must be a good one; what it said.
    pub fn run(&self, setup: &Setup, arguments: &[&str]) -> String {
        let (code, said) = self.start(setup, arguments).end();
        assert_eq!(code, Some(0), "{said}");
        said
    }

    /// Files of a sink, by name, also hidden ones.
    pub fn files(&self, sink: &str) -> Vec<(String, String)> {
        let Ok(entries) = self.path(sink).read_dir() else { return Vec::new() };
        let mut files = Vec::new();
        for entry in entries.map(Result::unwrap) {
            // What is hidden may become visible in between.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push((entry.file_name().into_string().unwrap(), text));
            }
        }
        files.sort();
        files
    }

    /// Lines of visible files, sorted.
    pub fn visible(&self, sink: &str) -> Vec<String> {
        let files = self.files(sink).into_iter().filter(|(name, _)| !name.starts_with('.'));
        let mut lines: Vec<String> =
            files.flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        lines.sort();
        lines
    }

    /// Fails unless a sink has written exactly this, and nothing is left in progress.
    #[track_caller]
    pub fn check(&self, sink: &str, expected: &[String]) {
        let hidden: Vec<_> =
            self.files(sink).into_iter().map(|(name, _)| name).filter(|n| n.starts_with('.')).collect();
        assert!(hidden.is_empty(), "left behind: {hidden:?}");
        let found = self.visible(sink);
        let first = found.iter().zip(expected).find(|(found, expected)| found != expected);
        let (lines, due) = (found.len(), expected.len());
        assert!(found == expected, "{lines} lines of {due} that are due; the first that differ: {first:?}");
    }
}

/// Names of the files below a folder, in order.
pub fn below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().into_iter().flatten().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// A process.
pub struct Life {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Drop for Life {
    fn drop(&mut self) {
        // What it said last may tell why the test fails.
        if std::thread::panicking() {
            self.said.extend(self.lines.try_iter().map(|line| line + "\n"));
            let skipped = self.said.lines().count().saturating_sub(LINES_SHOWN);
            self.said.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
        }
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Life {
    /// Starts `wasmill run` on a job file, in its folder.
    pub fn start(folder: &Path, text: &str, arguments: &[&str]) -> Life {
        let job = folder.join("job.yaml");
        fs::write(&job, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
        command.arg("run").arg(job).args(arguments).env("WASMILL_LOG", "info,wasmill::control=debug");
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Life::of(command)
    }

    /// Starts any process; what it writes to outputs that are pipes is what it says.
    pub fn of(mut command: Command) -> Life {
        let mut child = command.spawn().unwrap();
        let (send, lines) = channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|out| Box::new(out) as _)];
        for output in outputs.into_iter().flatten() {
            let send = send.clone();
            let lines = BufReader::new(output).lines();
            std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        }
        Life { child, lines, said: String::new() }
    }

    /// The next line, by a moment.
    fn line(&mut self, until: Instant) -> Result<String, RecvTimeoutError> {
        let line = self.lines.recv_timeout(until.saturating_duration_since(Instant::now()))?;
        self.said += &line;
        self.said.push('\n');
        Ok(line)
    }

    /// Reads what it says until there is a line with this part.
    #[track_caller]
    pub fn wait_for(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.line(until) {
                Ok(line) if line.contains(part) => return line,
                Ok(_) => {}
                Err(error) => panic!("no `{part}`, {error}: {}", self.said),
            }
        }
    }

    /// Reads what it says for so long, or until it ends.
    pub fn read_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while self.line(until).is_ok() {}
    }

    /// The first line it said that begins like this, of those that were read.
    #[track_caller]
    pub fn said(&self, start: &str) -> &str {
        self.said.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no `{start}`: {}", self.said))
    }

    /// The system's number of it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGKILL, while it runs; what it said, as far as that was read.
    #[track_caller]
    pub fn kill(mut self) -> String {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "it ended by itself: {ended:?}: {}", self.said);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::take(&mut self.said)
    }

    /// Waits for its end: the exit code, and all it said.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.line(until) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.said),
            }
        }
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.said))
    }
}
