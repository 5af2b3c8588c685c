//! Secrets in configurations of plugins: the plugin has them, and nobody else sees them. Must not know how they are filled in.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use wasmill::{
    plugin::Plugin,
    service::{AddedRule, Canary, ServiceError, State, Stop, Submission, Swap},
};

use super::{jobs, service::Server};

/// The values, as files of these names.
const SECRETS: [(&str, &str); 3] = [("FIRST", "hush-\"one\""), ("SECOND", "hush-two"), ("MARK", "470011223344")];

const MARK: i64 = 470_011_223_344;

fn job(input: &Path, out: &Path) -> String {
    let plugin = "payment-alerts@1.0.0";
    format!(
        "
name: payments
checkpoints: {{ directory: checkpoints, interval: 1h }}
sources:
  in:
    file: {{ path: '{}', follow: true, poll: 5ms }}
    format: json
    schema: {{ user: i64, amount: i64, timestamp: i64 }}
operators:
  large: {{ input: in, transform: {{ plugin: '{plugin}', config: {{ name: '${{FIRST}}', mark: ${{MARK}}, limit: 0 }} }} }}
  rules:
    input: in
    key: user
    rules: {{ all: {{ transform: {{ plugin: '{plugin}', config: {{ name: 'r-${{FIRST}}', limit: 0 }} }} }} }}
sinks:
  out: {{ input: [large, rules], file: {{ path: '{}' }} }}
",
        input.display(),
        out.display()
    )
}

/// Files below a folder in which a text is.
fn with_text(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(with_text(&path, text)),
            false => {
                let bytes = fs::read(&path).unwrap();
                found.extend(bytes.windows(text.len()).any(|bytes| bytes == text.as_bytes()).then_some(path));
            }
        }
    }
    found
}

struct Setup {
    data: tempfile::TempDir,
    outside: tempfile::TempDir,
    server: Server,
    id: String,
}

impl Setup {
    fn new() -> Setup {
        let (data, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (input, secrets) = (outside.path().join("in"), outside.path().join("secrets"));
        fs::write(&input, "").unwrap();
        fs::create_dir(&secrets).unwrap();
        for (name, value) in SECRETS {
            fs::write(secrets.join(name), value).unwrap();
        }
        let plugin = Plugin::load(jobs::engine(), Path::new(&jobs::plugin("payment-alerts"))).unwrap();
        let source = jobs::source(move |_| Ok(plugin.clone()));
        let server = Server::of(data.path(), BTreeMap::new(), Some(secrets), source);
        let id = server.submit(&job(&input, &outside.path().join("out")));
        server.until(&id, State::Running);
        Setup { data, outside, server, id }
    }

    /// Gives the job a payment; once a checkpoint has all alerts of it, which names and marks are on them.
    fn pay(&self, number: u64, alerts: u64) -> Vec<(String, i64)> {
        let line = format!("{{\"user\":1,\"amount\":{number},\"timestamp\":{number}}}\n");
        let mut input = File::options().append(true).open(self.outside.path().join("in")).unwrap();
        let written =
            || self.server.jobs.graph(&self.id).unwrap().nodes.iter().find(|it| it.name == "out").unwrap().records_in;
        let until = written() + alerts;
        input.write_all(line.as_bytes()).unwrap();
        while written() < until {
            std::thread::yield_now();
        }
        self.server.run(self.server.jobs.checkpoint(&self.id)).unwrap();
        // They are visible soon after.
        let mut marks = Vec::new();
        while marks.len() < alerts as usize {
            marks = self.marks(number);
        }
        marks
    }

    /// Which names and marks are on the visible alerts of a payment.
    fn marks(&self, number: u64) -> Vec<(String, i64)> {
        let Ok(entries) = fs::read_dir(self.outside.path().join("out")) else { return Vec::new() };
        let visible =
            entries.map(|entry| entry.unwrap()).filter(|it| !it.file_name().to_string_lossy().starts_with('.'));
        let text: String = visible.map(|entry| fs::read_to_string(entry.path()).unwrap()).collect();
        let alerts = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of = alerts.filter(|alert| alert["amount"] == number);
        let mut marks: Vec<_> =
            of.map(|it| (it["rule"].as_str().unwrap().to_owned(), it["mark"].as_i64().unwrap())).collect();
        marks.sort();
        marks
    }

    /// Fails if a secret is in what the server keeps, or in this.
    fn keeps_silent(&self, shown: &str) {
        for (_, value) in SECRETS {
            let escaped = value.replace('"', "\\\"");
            for text in [value, &escaped] {
                assert_eq!(with_text(self.data.path(), text), Vec::<PathBuf>::new(), "{text}");
                assert!(!shown.contains(text), "{shown}");
            }
        }
    }

    fn operators(&self) -> String {
        serde_json::to_string(&self.server.jobs.operators(&self.id).unwrap()).unwrap()
    }
}

fn marks(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(name, mark)| ((*name).to_owned(), *mark)).collect()
}

#[test]
fn a_plugin_has_its_secrets_and_nothing_that_is_kept_or_shown_has_them() {
    let setup = Setup::new();
    let (server, id) = (&setup.server, setup.id.as_str());
    let configuration = |operator: &str| server.jobs.operator(id, operator, None).unwrap().version.configuration;
    assert_eq!(setup.pay(1, 2), marks(&[("hush-\"one\"", MARK), ("r-hush-\"one\"", 0)]));
    let written = json!({ "name": "${FIRST}", "mark": { "$yaml": "${MARK}" }, "limit": 0 });
    assert_eq!(configuration("large"), written);
    assert_eq!(configuration("rules:all"), json!({ "name": "r-${FIRST}", "limit": 0 }));

    // A patch of something else, which is promised and in checkpoints from now on, and a configuration that names another.
    let patch = |operator, patch| server.jobs.configure(id, operator, None, patch, None, "me");
    server.run(patch("large", json!({ "within_ms": 7 }))).unwrap();
    server.run(patch("rules:all", json!({ "name": "${SECOND}", "mark": { "$yaml": "${MARK}" } }))).unwrap();
    assert_eq!(setup.pay(2, 2), marks(&[("hush-\"one\"", MARK), ("hush-two", MARK)]));
    setup.keeps_silent(&setup.operators());

    // What does not fit is refused without being told.
    let shown = |error: ServiceError| (error.code(), error.to_string());
    for (configuration, code, names) in [
        (json!({ "mark": "${SECOND}" }), "V0111", "/mark"),
        (json!({ "name": { "$yaml": "${MARK}" } }), "V0111", "/name"),
        (json!({ "name": "${GONE}" }), "V0111", "`GONE` is not set"),
        (json!({ "name": { "$yaml": "[${FIRST}" } }), "V0111", "${FIRST}"),
    ] {
        let swap = Swap { configuration: Some(configuration.clone()), ..Swap::default() };
        let (found, text) = shown(server.run(server.jobs.swap(id, "large", swap, "me")).unwrap_err());
        assert!(found == code && text.contains(names), "{configuration}: {text}");
        setup.keeps_silent(&text);
    }
    let within = Swap { configuration: Some(json!({ "limit": "${MARK}" })), dry_run: true, ..Swap::default() };
    let (_, text) = shown(server.run(server.jobs.swap(id, "large", within, "me")).unwrap_err());
    setup.keeps_silent(&text);

    // A canary, and another rule.
    let named = Some(json!({ "name": "c-${SECOND}", "limit": 0 }));
    let canary = Canary { configuration: named.clone(), share: 0.5, by: vec!["user".into()], ..Canary::default() };
    server.run(server.jobs.canary(id, "large", canary, "me")).unwrap();
    let (kind, configuration) = (Some("transform".to_owned()), named);
    let plugin = "payment-alerts@1.0.0".to_owned();
    let added = AddedRule { name: "more".into(), plugin, kind, configuration, ..AddedRule::default() };
    let added = server.run(server.jobs.add_rule(id, "rules", added, "me")).unwrap();
    assert_eq!(added.version.configuration, json!({ "name": "c-${SECOND}", "limit": 0 }));
    let paid = setup.pay(3, 3);
    assert!(marks(&[("c-hush-two", 0), ("hush-two", MARK)]).iter().all(|mark| paid.contains(mark)), "{paid:?}");
    let history: Vec<_> =
        ["large", "rules:all"].iter().flat_map(|operator| server.jobs.versions(id, operator).unwrap()).collect();
    let (events, _) = server.jobs.events(Some(0));
    let shown =
        serde_json::to_string(&json!([history, events.iter().map(|it| &it.detail).collect::<Vec<_>>()])).unwrap();
    assert!(shown.contains("c-${SECOND}"), "{shown}");
    setup.keeps_silent(&(shown + &setup.operators()));
}

#[test]
fn a_secret_that_was_changed_is_in_force_once_the_job_is_started_again() {
    let setup = Setup::new();
    let (server, id) = (&setup.server, setup.id.as_str());
    let patch = json!({ "name": "p-${SECOND}" });
    server.run(server.jobs.configure(id, "rules:all", None, patch, None, "me")).unwrap();
    assert_eq!(setup.pay(1, 2), marks(&[("hush-\"one\"", MARK), ("p-hush-two", 0)]));
    for (name, value) in [("FIRST", "new-one"), ("SECOND", "new-two"), ("MARK", "12")] {
        fs::write(setup.outside.path().join("secrets").join(name), value).unwrap();
    }
    server.run(server.jobs.stop(id, Stop::default())).unwrap();
    server.run(server.jobs.restart(id)).unwrap();
    server.until(id, State::Running);
    assert_eq!(setup.pay(2, 2), marks(&[("new-one", 12), ("p-new-two", 0)]));

    // One that is gone is told of by its name, and the job does not start.
    fs::remove_file(setup.outside.path().join("secrets/SECOND")).unwrap();
    server.run(server.jobs.stop(id, Stop::default())).unwrap();
    server.run(server.jobs.restart(id)).unwrap();
    let state = server.run(server.jobs.until(id, |state| state.is_terminal())).unwrap();
    let info = server.jobs.get(id).unwrap();
    let error = info.error.unwrap_or_default();
    assert!(info.code.as_deref() == Some("J0102") && error.contains("`SECOND` is not set"), "{state}: {error}");
    let refused = Submission { text: "name: '${SECOND}'".into(), ..Submission::default() };
    assert_eq!(server.run(server.jobs.submit(refused)).unwrap_err().code(), "J0102");
}
