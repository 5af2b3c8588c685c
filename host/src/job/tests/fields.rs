//! Reading job files: what the fields come to.
use std::{path::Path, time::Duration};

use super::{JOB, read, with};
use crate::{
    job::{
        AssignerSpec, CapabilitiesSpec, Code, JobSpec, OnError, PluginRef, PluginSpec, RestartStrategy, StateSpec,
        TriggerSpec, fill, load, parse,
    },
    model::{Field, Kind, TimeDomain},
};

/// Reads a job with a part replaced.
#[track_caller]
fn changed(old: &str, new: &str) -> JobSpec {
    read(&with(old, new)).unwrap_or_else(|error| panic!("{error}"))
}

fn first_plugin<'a>(job: &'a JobSpec, operator: &str) -> &'a PluginSpec {
    job.operators[operator].plugins()[0].1
}

#[test]
fn capabilities_are_one_or_several() {
    for (text, clocks, randomness) in [
        ("clocks", true, false),
        ("[randomness]", false, true),
        ("[randomness, clocks]", true, true),
        ("[]", false, false),
    ] {
        let job = changed("key: word", &format!("key: word, capabilities: {text}"));
        assert_eq!(job.operators["counts"].capabilities, CapabilitiesSpec { clocks, randomness }, "{text}");
        assert_eq!(job.operators["words"].capabilities, CapabilitiesSpec::default());
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let job = read(JOB).unwrap();
    assert_eq!((job.parallelism, job.max_parallelism), (2, 128));
    assert_eq!((job.batch.records, job.batch.bytes, job.batch.flush), (4096, 1 << 20, Duration::from_millis(2)));
    let source = &job.sources["lines"];
    assert_eq!((source.kind.as_str(), source.on_error, source.parallelism), ("socket", OnError::Fail, None));
    assert_eq!((&source.time.column, source.time.out_of_orderness, source.time.idle), (&None, Duration::ZERO, None));
    let operator = &job.operators["counts"];
    assert!(operator.chain && operator.uid.is_none());
    assert_eq!((operator.limits.memory, operator.limits.retire_memory), (256 << 20, 128 << 20));
    assert_eq!(operator.limits.batch_time, Duration::from_secs(10));
    let window = operator.window.as_ref().unwrap();
    assert_eq!((window.time, window.allowed_lateness, window.purge), (TimeDomain::Event, Duration::ZERO, false));
    assert_eq!(window.trigger, TriggerSpec::EventTime);
    assert_eq!((&job.state, &job.checkpoints, &job.savepoints), (&StateSpec::Memory, &None, &None));
    assert_eq!(job.restart, RestartStrategy::None);
}

#[test]
fn durations_and_sizes_have_units() {
    for (text, seconds) in
        [("5s", 5.0), ("500ms", 0.5), ("10 min", 600.0), ("1h", 3600.0), ("1d", 86400.0), ("\"1h 5s\"", 3605.0)]
    {
        let job = changed("tumbling: 5s", &format!("tumbling: {text}"));
        let tumbling = AssignerSpec::Tumbling { size: Duration::from_secs_f64(seconds), offset: Duration::ZERO };
        assert_eq!(job.operators["counts"].window.as_ref().unwrap().assigner, tumbling, "{text}");
    }
    for (text, bytes) in [("64MiB", 64 << 20), ("1GB", 1_000_000_000), ("70000", 70_000), ("1 GiB", 1 << 30)] {
        let job = changed("key: word", &format!("key: word, limits: {{ memory: {text} }}"));
        assert_eq!(job.operators["counts"].limits.memory, bytes, "{text}");
        assert_eq!(job.operators["counts"].limits.retire_memory, bytes / 2, "{text}");
    }
}

#[test]
fn one_name_or_a_list_of_names() {
    for (text, inputs) in [("counts", "counts"), ("[counts, words.rejected]", "counts words.rejected")] {
        let job = changed("input: counts", &format!("input: {text}"));
        let read: Vec<String> = job.sinks["out"].inputs.iter().map(ToString::to_string).collect();
        assert_eq!(read.join(" "), inputs);
    }
    let job = changed("key: word", "key: [word, b]");
    assert_eq!(job.operators["counts"].key.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["word", "b"]);
    assert_eq!(job.operators["counts"].key[1].place.column, 39);
}

#[test]
fn a_schema_keeps_its_order() {
    let job = changed("format: text", "format: json, schema: { z: i64, a: \"string?\", m: bool? }");
    let fields = [
        Field::new("z", Kind::Int64),
        Field::new("a", Kind::Utf8).nullable(),
        Field::new("m", Kind::Boolean).nullable(),
    ];
    assert_eq!(job.sources["lines"].schema.as_deref(), Some(&fields[..]));
}

#[test]
fn paths_are_relative_to_the_job_file() {
    let job = changed("{ socket: { address: \"localhost:9999\" }", "{ file: { path: data/in.txt }");
    assert!(format!("{:?}", job.sources["lines"].connector).contains("/jobs/data/in.txt"));
    assert_eq!(first_plugin(&job, "words").plugin, PluginRef::Path("/jobs/../plugins/words".into()));
    let job = changed("../plugins/words", "/opt/words.wasm");
    assert_eq!(first_plugin(&job, "words").plugin, PluginRef::Path("/opt/words.wasm".into()));
}

#[test]
fn an_uploaded_plugin_is_told_from_a_path() {
    let plugin = |text: &str| first_plugin(&changed("../plugins/words", text), "words").plugin.clone();
    let registered = PluginRef::Registered { name: "word-count".into(), version: "1.2.0-beta.1".into() };
    assert_eq!(plugin("word-count@1.2.0-beta.1"), registered);
    assert_eq!(plugin(&format!("\"sha256:{}\"", "0a".repeat(32))), PluginRef::Digest("0a".repeat(32)));
    for path in ["./word-count@1.2.0", "word-count@latest", "@1.0.0", "sha256:0a", "Word@1.0.0"] {
        assert_eq!(plugin(&format!("\"{path}\"")), PluginRef::Path(Path::new("/jobs").join(path)));
    }
}

#[test]
fn variables_are_filled_in_everywhere_but_in_comments() {
    let config = |value: &str| {
        let job = changed("{ plugin: ../plugins/words }", &format!("{{ plugin: a, config: {{ x: {value}\n }} }}"));
        let config = first_plugin(&job, "words").config.clone();
        fill(&config.into_iter().collect(), &job.variables).unwrap().configuration["x"].to_string()
    };
    for (text, value) in [
        ("${PORT}", "9999"),
        ("${PORT:1}", "9999"),
        ("${UNSET:1}", "1"),
        ("\"${UNSET:}\"", "\"\""),
        ("${UNSET:kafka:9092}", "\"kafka:9092\""),
        ("a${PORT}b${PORT}", "\"a9999b9999\""),
        ("\"$${PORT}\"", "\"${PORT}\""),
        ("1 # ${UNSET}", "1"),
        ("\"# ${PORT}\"", "\"# 9999\""),
        ("'it''s # ${PORT}'", "\"it's # 9999\""),
        ("\"\\\" # ${PORT}\"", "\"\\\" # 9999\""),
        ("don't # ${UNSET}", "\"don't\""),
        ("a#${PORT}", "\"a#9999\""),
        ("$PORT", "\"$PORT\""),
    ] {
        assert_eq!(config(text), value, "{text}");
    }
}

#[test]
fn configuration_keeps_its_types() {
    let job = changed(
        "{ plugin: ../plugins/words }",
        "{ plugin: a, config: { n: 1, f: 1.5, b: true, c: no, l: [1, { a: null }] } }",
    );
    let config = serde_json::to_string(&first_plugin(&job, "words").config).unwrap();
    assert_eq!(config, r#"{"b":true,"c":"no","f":1.5,"l":[1,{"a":null}],"n":1}"#);
}

#[test]
fn block_style_json_and_anchors_are_yaml_too() {
    let block = "name: a\nsources:\n  s:\n    stdin: {}\n    time: &t\n      idle: 5s\nsinks:\n  o:\n    input:\n      - s\n    print: {}\n";
    assert_eq!(read(block).unwrap().sources["s"].time.idle, Some(Duration::from_secs(5)));
    let json = "{\n\t\"name\": \"a\",\n\t\"sources\": {\"s\": {\"stdin\": {}}},\n\t\"sinks\": {\"o\": {\"input\": [\"s\"], \"print\": {}}}\n}";
    assert_eq!(read(json).unwrap().sinks["o"].inputs[0].node, "s");
    let anchors = "name: a\nsources:\n  s: &s { stdin: {}, time: { idle: 5s } }\n  t: *s\nsinks:\n  o: { input: [s, t], print: {} }\n";
    assert_eq!(read(anchors).unwrap().sources["t"].time.idle, Some(Duration::from_secs(5)));
}

#[test]
fn a_file_is_read_with_its_folder_and_its_name_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.yaml");
    let error = load(&path).unwrap_err();
    assert_eq!((error.code, error.line), (Code::Unreadable, 0));
    assert!(error.to_string().ends_with("job.yaml"), "{error}");
    std::fs::write(&path, JOB).unwrap();
    let plugin = PluginRef::Path(folder.path().join("../plugins/words"));
    assert_eq!(first_plugin(&load(&path).unwrap(), "words").plugin, plugin);
    std::fs::write(&path, [0xFF]).unwrap();
    assert!(load(&path).unwrap_err().message.contains("UTF-8"));
    std::fs::write(&path, vec![b' '; (1 << 20) + 1]).unwrap();
    assert!(load(&path).unwrap_err().message.contains("1048576"));
}

#[test]
fn no_text_makes_the_reader_panic() {
    let settings = "batch: { records: 1, bytes: 1MiB, flush: ${UNSET:2ms} }\n\
                    state: { backend: rocksdb, directory: s, cache: 1GiB }\n\
                    checkpoints: { directory: c, interval: 10s }\nrestart: { exponential_delay: { jitter: 0.5 } }\n";
    let sliding =
        "sliding: { size: 1h, slide: 5s }, allowed_lateness: 1s, trigger: { early: { every: 1s }, late: { count: 1 } }";
    let join = "x: { input: words, key: word, second: { input: counts, key: word }, interval_join: { lower: -1s, upper: 1s } }";
    let full = format!("{JOB}# ${{X}}\n{settings}")
        .replacen("tumbling: 5s", sliding, 1)
        .replacen("format: text", "delivery: at_most_once", 1)
        .replacen("sinks:", &format!("  {join}\nsinks:"), 1);
    super::plugins::planned(&full).unwrap();
    let parts = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ", ",
        "#",
        "\"",
        "'",
        "${",
        "$${PORT}",
        "&a ",
        "*a",
        "!!",
        "|\n",
        "\t",
        "\0",
        "é",
        "-",
        "<<: ",
        "0",
        "9999999999999999999",
        "\n",
        "? ",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let mut text: Vec<char> = full.chars().collect();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..text.len());
            let end = (at + random.usize(0..12)).min(text.len());
            let part = parts[random.usize(0..parts.len())];
            text.splice(at..end, part.chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(spec) = parse(&text, "job.yaml", &|_| None, Path::new("")) {
            let _ = super::plugins::plan_of(&spec);
        }
    }
}
