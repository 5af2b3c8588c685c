//! The command line as a caller of the real server: what it prints, and its exit codes.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{jobs, server::Server};

/// A command that asks this server, as the holder of this token.
pub fn command(server: &Server, token: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
    command.args(arguments).stdin(Stdio::null()).env("WASMILL_SERVER", server.url()).env_remove("WASMILL_TOKEN");
    command.envs(token.map(|token| ("WASMILL_TOKEN", token)));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it prints, which must be all it does.
#[track_caller]
pub fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// That it fails with this exit code, and says these.
#[track_caller]
pub fn fails(output: &Output, code: i32, parts: &[&str]) {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}{error}", text(&output.stdout));
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

/// Counts words of a file that grows.
fn job(directory: &Path) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    fs::write(path("in"), "a b\nb\n").unwrap();
    let text = format!(
        "name: words
sources: {{ in: {{ file: {{ path: '${{IN}}', follow: true, poll: 5ms }}, format: text }} }}
operators: {{ split: {{ input: in, transform: {{ plugin: word-count@1.0.0 }} }} }}
sinks: {{ out: {{ input: split, file: {{ path: '{}' }} }} }}",
        path("out")
    );
    fs::write(path("job.yaml"), text).unwrap();
    path("job.yaml")
}

#[test]
fn a_plugin_is_pushed_and_a_job_with_it_is_submitted_watched_and_stopped() {
    let (server, directory) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let run = |arguments: &[&str]| command(&server, None, arguments).output().unwrap();
    let (plugin, file) = (jobs::plugin("word-count"), job(directory.path()));
    let input = format!("IN={}", directory.path().join("in").display());

    assert!(done(&run(&["plugin", "push", &plugin])).starts_with("word-count@1.0.0 sha256:"));
    assert!(done(&run(&["plugin", "push", &plugin])).ends_with(" (was there already)\n"));
    let listed = done(&run(&["plugin", "list"]));
    let [header, row] = listed.lines().collect::<Vec<_>>()[..] else { panic!("{listed}") };
    assert!(header.starts_with("PLUGIN ") && row.starts_with("word-count@1.0.0  "), "{listed}");
    assert_eq!(header.find("SHA-256"), row.rfind(' ').map(|space| space + 1), "{listed}");
    assert_eq!(done(&run(&["plugin", "list", "nothing"])).lines().count(), 1);

    let id = done(&run(&["job", "submit", &file, "--var", &input])).trim().to_owned();
    // Until it runs.
    let mut events = command(&server, None, &["job", "events", &id, "--after", "0", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(events.stdout.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(event["job"], id);
        if event["detail"]["to"] == "running" {
            break;
        }
    }
    events.kill().unwrap();
    events.wait().unwrap();
    let shown = done(&run(&["job", "show", "words"]));
    for part in [format!("id          {id}\n"), "state       running\n".into(), "\nsplit  transform".into()] {
        assert!(shown.contains(&part), "`{part}` is not in: {shown}");
    }
    assert!(done(&run(&["job", "checkpoint", "words"])).trim().parse::<u64>().is_ok());
    assert_eq!(done(&run(&["job", "rescale", "words", "2", "--operator", "split"])), "running\n");
    let folder = directory.path().join("saved").display().to_string();
    assert_eq!(done(&run(&["job", "stop", "words", "--savepoint", &folder])), format!("stopped\n{folder}\n"));
    assert!(directory.path().join("saved/manifests").is_dir());

    let log = done(&run(&["audit"]));
    let rows: Vec<&str> = log.lines().collect();
    assert!(rows[0].starts_with("NUMBER  TIME "), "{log}");
    let actions = ["plugin.push", "job.submit", "job.rescale", "job.stop"];
    assert_eq!(rows.len(), 1 + actions.len(), "{log}");
    for ((number, action), row) in (0..).zip(actions).zip(&rows[1..]) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!((cells[0], cells[2], cells[3]), (&*format!("{number}"), "local", action), "{log}");
    }
    let rest: Value = serde_json::from_str(&done(&run(&["audit", "--after", "2", "--output", "json"]))).unwrap();
    let [last] = &rest["items"].as_array().unwrap()[..] else { panic!("{rest}") };
    assert_eq!((&last["sequence"], &last["action"]), (&3.into(), &"job.stop".into()));
    assert!(rows[4].ends_with(last["hash"].as_str().unwrap()), "{log}");
    assert_eq!(last["to"], folder);
    let all: Value = serde_json::from_str(&done(&run(&["audit", "--output", "json"]))).unwrap();
    assert_eq!(
        (&all["items"][2]["from"], &all["items"][2]["to"]),
        (&"{}".into(), &r#"{"operators":{"split":2}}"#.into())
    );

    let listed: Value = serde_json::from_str(&done(&run(&["job", "list", "--output", "json"]))).unwrap();
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["state"]), (&id.as_str().into(), &"stopped".into()));
    fails(&run(&["plugin", "delete", "word-count@1.0.0"]), 3, &["word-count@1.0.0"]);
    assert_eq!(done(&run(&["job", "delete", &id])), "");
    assert_eq!(done(&run(&["plugin", "delete", "word-count@1.0.0"])), "");

    fails(&run(&["job", "show", &id]), 3, &["[V0101] No such job: ", "docs/errors/V0101.md"]);
    // Its plugin is gone.
    fails(&run(&["job", "submit", &file, "--var", &input]), 3, &["word-count@1.0.0", "docs/errors/P0208.md"]);
    fails(&run(&["job", "submit", "nowhere.yaml"]), 3, &["[K0104] nowhere.yaml"]);
    fails(&run(&["job", "show", ".."]), 2, &["[K0101]"]);
    fails(&run(&["swap", "words", "split"]), 2, &["PLUGIN"]);
    fails(&run(&["job", "list", "--server", "localhost"]), 2, &["[K0101]", "`localhost`"]);
    let url = server.url().to_owned();
    drop(server);
    let mut gone = Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
    fails(&gone.args(["job", "list", "--server", &url]).output().unwrap(), 1, &["[K0102]", &url]);
}

#[test]
fn whoever_has_no_token_is_told_how_to_give_one() {
    let data = tempfile::tempdir().unwrap();
    let tokens = data.path().join("tokens").display().to_string();
    let digest: String = Sha256::digest("secret").iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&tokens, format!("{digest} eve viewer\n")).unwrap();
    let given = data.path().join("token");
    fs::write(&given, "secret\n").unwrap();
    let server = Server::start_in(data, &["--tokens", &tokens]);
    let list = ["job", "list"];

    for token in [None, Some("guess")] {
        fails(&command(&server, token, &list).output().unwrap(), 3, &["[R0201]", "WASMILL_TOKEN"]);
    }
    assert!(done(&command(&server, Some("secret"), &list).output().unwrap()).starts_with("ID"));
    let with_file = [&list[..], &["--output", "json", "--token-file", given.to_str().unwrap()]].concat();
    let page = done(&command(&server, Some("guess"), &with_file).output().unwrap());
    assert_eq!(page, "{\"items\":[],\"next\":null}\n");
    // A viewer may only look.
    let delete = ["plugin", "delete", "word-count@1.0.0"];
    fails(&command(&server, Some("secret"), &delete).output().unwrap(), 3, &["[R0202]"]);
}

#[test]
fn shells_complete_commands() {
    for (shell, command) in [("bash", "wasmill__"), ("zsh", "#compdef wasmill"), ("fish", "-c wasmill")] {
        let mut completions = Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
        let script = done(&completions.args(["completions", shell]).output().unwrap());
        assert!(script.contains(command) && script.contains("shadow-report"), "{shell}: {script}");
    }
}
