//! The program as its users have it: exit codes, what it prints, and how it ends when it is asked to.
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use serde_json::Value;
use wasmill_tests::guests;

use super::jobs;

pub fn wasmill() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
    command.env("WASMILL_BUILD_DIR", guests::rust_target()).env("WORD_COUNT", jobs::plugin("word-count"));
    command.stdin(Stdio::null());
    command
}

/// A running program that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end, and gives the exit code and what it said on stderr.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.0.wait().unwrap().code(), text)
    }
}

fn job(directory: &Path, text: &str) -> String {
    let path = directory.join("job.yaml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn check(output: &Output, code: i32, parts: &[&str]) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    let shown = if code == 0 { &out } else { &err };
    for part in parts {
        assert!(shown.contains(part), "`{part}` is not in: {shown}");
    }
}

const COUNT_LINES: &str = r#"name: lines
sources:
  lines: { file: { path: input.csv }, format: csv, schema: { at: i64, line: string }, time: { column: at } }
operators:
  words: { input: lines, transform: { plugin: "${WORD_COUNT}" } }
  counts: { input: words, key: word, window: { tumbling: 5s }, aggregate: { plugin: "${WORD_COUNT}" } }
sinks:
  out: { input: counts, format: csv, print: {} }
"#;

#[test]
fn exit_codes_say_how_it_went() {
    let directory = tempfile::tempdir().unwrap();
    let path = job(directory.path(), COUNT_LINES);
    let run = |command: &str| wasmill().args([command, &path]).output().unwrap();

    fs::write(directory.path().join("input.csv"), "7000,b b\n").unwrap();
    check(&run("run"), 0, &["b,5000,10000,2\n"]);
    fs::write(directory.path().join("input.csv"), "7000,b b\nsoon,c\n").unwrap();
    check(&run("run"), 1, &["error: [R0501] lines rejects a record", "input.csv:2", "soon,c"]);
    check(&run("check"), 0, &["job lines\n"]);

    job(directory.path(), &COUNT_LINES.replace("input: words", "input: wrods"));
    for command in ["run", "check"] {
        let place = format!("--> {path}:6:");
        check(&run(command), 3, &["error[J0201]: ", "`wrods`", &place, "did you mean `words`?"]);
    }
    job(directory.path(), &COUNT_LINES.replace("tumbling: 5s", "tumbling: 5 apples"));
    check(&run("run"), 3, &["error[J0107]", &format!("{path}:6:")]);
    job(directory.path(), &COUNT_LINES.replace("\"${WORD_COUNT}\" } }\n  counts", "nowhere.wasm } }\n  counts"));
    check(&run("run"), 3, &[&format!("{path}:5:"), "operator `words`", "[P0201]", "nowhere.wasm"]);
    check(&wasmill().args(["run", "missing.yaml"]).output().unwrap(), 3, &["error[J0101]", "missing.yaml"]);
    check(&wasmill().arg("walk").output().unwrap(), 2, &["walk"]);
}

#[test]
fn check_shows_the_plan() {
    let directory = tempfile::tempdir().unwrap();
    let path = job(directory.path(), &COUNT_LINES.replace("name: lines", "name: lines\nparallelism: 2"));
    let output = wasmill().args(["check", &path]).output().unwrap();
    check(
        &output,
        0,
        &[
            "job lines\n",
            "task 0, 2 subtasks\n",
            "lines (source file)",
            "words (transform word-count 1.0.0)",
            "-> task 1 counts, by word",
            "task 1, 2 subtasks\n",
            "<- task 0 words, by word",
            "counts (aggregate word-count 1.0.0 by word)",
            "out (sink print)",
        ],
    );
    assert!(!text(&output.stdout).contains("warning"));
}

#[test]
fn inspect_shows_what_a_plugin_says_of_itself() {
    for path in [jobs::plugin("word-count"), guests::root().join("plugins/word-count").display().to_string()] {
        let output = wasmill().args(["plugin", "inspect", &path]).output().unwrap();
        let parts = [
            "contract  wasmill:operator@0.1.0",
            "imports   ",
            "transform word-count 1.0.0",
            "reads     { line: string }",
            "writes    { word: string }",
            "aggregate word-count 1.0.0",
            "writes    { count: i64 }",
            "aggregating of i64",
        ];
        check(&output, 0, &parts);
    }
    check(&wasmill().args(["plugin", "inspect", "nothing.wasm"]).output().unwrap(), 3, &["[P0201]", "nothing.wasm"]);
}

const SOCKET: &str = r#"name: socket-words
parallelism: 2
sources:
  lines: { socket: { address: "${ADDRESS}" }, format: text }
operators:
  words: { input: lines, transform: { plugin: "${WORD_COUNT}" } }
  counts: { input: words, key: word, window: { tumbling: 200ms, time: processing }, aggregate: { plugin: "${WORD_COUNT}" } }
sinks:
  out: { input: counts, columns: [word, count], print: {} }
"#;

#[test]
fn words_from_a_socket_are_counted_until_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = job(directory.path(), SOCKET);
    let address = listener.local_addr().unwrap().to_string();
    let mut running = Running::start(wasmill().args(["run", &path]).env("ADDRESS", address));
    let mut out = running.stdout();
    let (mut client, _) = listener.accept().unwrap();
    client.write_all(b"To be or not to be\nthat is\n").unwrap();
    client.write_all(b"the question: to be\n").unwrap();

    let expected = [("to", 3), ("be", 3), ("or", 1), ("not", 1), ("that", 1), ("is", 1), ("the", 1), ("question:", 1)];
    let expected: BTreeMap<String, i64> = expected.map(|(word, count)| (word.to_owned(), count)).into();
    // The lines may fall into several windows, so that it is the sums that are known.
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    while counts != expected {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended: {:?}", running.end());
        let count: Value = serde_json::from_str(&line).unwrap();
        *counts.entry(count["word"].as_str().unwrap().to_owned()).or_default() += count["count"].as_i64().unwrap();
        assert!(counts.iter().all(|(word, count)| expected.get(word).is_some_and(|most| count <= most)), "{counts:?}");
    }
    running.interrupt();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopping"), "{said}");
}

#[test]
fn lines_from_stdin_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    let lines =
        "name: copy\nsources:\n  lines: { stdin: {} }\nsinks:\n  out: { input: lines, format: text, print: {} }\n";
    let path = job(directory.path(), lines);
    let mut running = Running::start(wasmill().args(["run", &path]));
    let (mut out, mut input) = (running.stdout(), running.0.stdin.take().unwrap());
    let mut line = String::new();
    // What comes in goes out though more may come.
    for text in ["one\n", "zwei ü\n", "\n"] {
        input.write_all(text.as_bytes()).unwrap();
        line.clear();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, text);
    }
    input.write_all(b"no end of line").unwrap();
    drop(input);
    line.clear();
    out.read_to_string(&mut line).unwrap();
    assert_eq!(line, "no end of line\n");
    assert_eq!(running.end().0, Some(0));
}

const ENDLESS: &str = r#"name: endless
parallelism: 2
sources:
  lines: { generator: { workload: lines } }
operators:
  words: { input: lines, transform: { plugin: "${WORD_COUNT}" } }
sinks:
  out: { input: words, format: text, print: {} }
"#;

#[test]
fn a_job_without_end_ends_when_interrupted() {
    let directory = tempfile::tempdir().unwrap();
    let path = job(directory.path(), ENDLESS);
    let mut running = Running::start(wasmill().args(["run", &path]));
    let mut out = running.stdout();
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(!line.trim().is_empty());
    running.interrupt();
    // What was read before is still written: whole lines to the last.
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.last(), Some(&b'\n'));
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn workloads_give_the_same_results_everywhere() {
    for (workload, outputs, checksum) in [("w1", 37_442, "8aa0758ae48b6d18"), ("w6", 80_095, "404cf5cadf894ed7")] {
        for parallelism in ["1", "2"] {
            let mut command = wasmill();
            command.args([
                "bench",
                workload,
                "--events",
                "200000",
                "--parallelism",
                parallelism,
                "--verify",
                "--plugins",
            ]);
            let output = command.arg(guests::root().join("plugins")).output().unwrap();
            check(&output, 0, &[]);
            let result: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!((&result["outputs"], &result["checksum"]), (&outputs.into(), &checksum.into()), "{result}");
        }
        let mut native = wasmill();
        let output = native.args(["bench", workload, "--events", "200000", "--native", "--verify"]).output().unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&result["outputs"], &result["checksum"]), (&outputs.into(), &checksum.into()), "{result}");
    }
}
