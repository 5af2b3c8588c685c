//! Reading job files: state, checkpoints, restarts and delivery.
use std::{path::Path, time::Duration};

use super::{JOB, check_refused, plugins::planned, read, with};
use crate::job::{CheckpointMode, Compression, JobSpec, OnCancel, RestartStrategy, StateSpec};

/// The job with a line of settings, from a source that may lose records.
#[track_caller]
fn set(line: &str) -> JobSpec {
    let text = JOB.replacen("parallelism: 2", line, 1).replacen("format: text", "delivery: at_most_once", 1);
    read(&text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn state_is_kept_in_memory_or_in_rocksdb() {
    assert_eq!(set("state: { backend: memory }").state, StateSpec::Memory);
    let StateSpec::RocksDb(rocksdb) = set("state: { backend: rocksdb, directory: state }").state else {
        panic!("memory")
    };
    assert_eq!(rocksdb.directory, Path::new("/jobs/state"));
    assert_eq!((rocksdb.cache, rocksdb.block_cache, rocksdb.write_buffers), (64 << 20, 256 << 20, 128 << 20));
    assert_eq!((rocksdb.background_jobs, rocksdb.bloom_bits, rocksdb.max_open_files), (2, 10, -1));
    assert_eq!((rocksdb.compression, rocksdb.block_size), (Compression::Lz4, 16 << 10));
    let text = "state: { backend: rocksdb, directory: /s, cache: 0, block_cache: 1GiB, write_buffers: 2MiB, background_jobs: 4, \
                compression: none, block_size: 4KiB, bloom_bits: 0, max_open_files: 100 }";
    let StateSpec::RocksDb(rocksdb) = set(text).state else { panic!("memory") };
    assert_eq!(rocksdb.directory, Path::new("/s"));
    assert_eq!((rocksdb.cache, rocksdb.block_cache, rocksdb.write_buffers), (0, 1 << 30, 2 << 20));
    assert_eq!((rocksdb.background_jobs, rocksdb.bloom_bits, rocksdb.max_open_files), (4, 0, 100));
    assert_eq!((rocksdb.compression, rocksdb.block_size), (Compression::None, 4 << 10));
}

#[test]
fn checkpoints_have_defaults_and_bring_restarts_with_them() {
    let job = set("checkpoints: { directory: c }\nsavepoints: ../s");
    assert_eq!(job.restart, RestartStrategy::exponential_delay());
    assert_eq!(job.savepoints.as_deref(), Some(Path::new("/jobs/../s")));
    let checkpoints = job.checkpoints.unwrap();
    assert_eq!((checkpoints.directory.as_path(), checkpoints.interval), (Path::new("/jobs/c"), None));
    assert_eq!((checkpoints.mode, checkpoints.on_cancel), (CheckpointMode::ExactlyOnce, OnCancel::Retain));
    assert_eq!((checkpoints.timeout, checkpoints.min_pause), (Duration::from_secs(600), Duration::ZERO));
    let counts = |c: &crate::job::CheckpointSpec| (c.max_concurrent, c.tolerable_failures, c.retain);
    assert_eq!(counts(&checkpoints), (1, 0, 2));
    let text = "checkpoints: { directory: c, interval: 10s, mode: at_least_once, timeout: 1min, min_pause: 5s, \
                max_concurrent: 3, tolerable_failures: 4, retain: 5, on_cancel: delete }\nrestart: none";
    let job = set(text);
    assert_eq!(job.restart, RestartStrategy::None);
    let checkpoints = job.checkpoints.unwrap();
    assert_eq!(checkpoints.interval, Some(Duration::from_secs(10)));
    assert_eq!((checkpoints.mode, checkpoints.on_cancel), (CheckpointMode::AtLeastOnce, OnCancel::Delete));
    assert_eq!((checkpoints.timeout, checkpoints.min_pause), (Duration::from_secs(60), Duration::from_secs(5)));
    assert_eq!(counts(&checkpoints), (3, 4, 5));
}

#[test]
fn restarts_are_delayed_counted_or_left_out() {
    let seconds = Duration::from_secs;
    for (text, strategy) in [
        ("none", RestartStrategy::None),
        ("{ fixed_delay: {} }", RestartStrategy::FixedDelay { attempts: 3, delay: seconds(10) }),
        ("{ fixed_delay: { attempts: 1, delay: 0s } }", RestartStrategy::FixedDelay { attempts: 1, delay: seconds(0) }),
        ("{ exponential_delay: {} }", RestartStrategy::exponential_delay()),
        (
            "{ exponential_delay: { initial: 2min, multiplier: 1.5, reset_after: 2h, jitter: 0 } }",
            RestartStrategy::ExponentialDelay {
                initial: seconds(120),
                max: seconds(120),
                multiplier: 1.5,
                reset_after: seconds(7200),
                jitter: 0.0,
            },
        ),
        (
            "{ failure_rate: { failures: 2, interval: 1min } }",
            RestartStrategy::FailureRate { failures: 2, interval: seconds(60), delay: seconds(10) },
        ),
    ] {
        assert_eq!(set(&format!("restart: {text}")).restart, strategy, "{text}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    check_refused(&[
        (
            "parallelism: 2",
            "state: { backend: disk }",
            r#"error[J0107]: `disk` is not possible here
  --> job.yaml:2:19
   = help: the possible values are `memory` and `rocksdb`"#,
        ),
        (
            "parallelism: 2",
            "state: { directory: x }",
            r#"error[J0105]: the field `backend` is missing
  --> job.yaml:2:10
   = help: write `backend: memory` or `backend: rocksdb`"#,
        ),
        (
            "parallelism: 2",
            "state: { backend: rocksdb }",
            r#"error[J0105]: backend `rocksdb` has no `directory`
  --> job.yaml:2:19
   = help: write `directory: state`, a folder for its files"#,
        ),
        (
            "parallelism: 2",
            "state: { backend: memory, cache: 1MiB }",
            r#"error[J0104]: backend `memory` has no setting `cache`
  --> job.yaml:2:34
   = help: leave out `cache:`, or write `backend: rocksdb`"#,
        ),
        (
            "parallelism: 2",
            "state: { backend: rocksdb, directory: s, block_size: 1 }",
            r#"error[J0107]: `block_size` is 1 B, but must be from 1.0 KiB to 4.0 MiB
  --> job.yaml:2:54"#,
        ),
        (
            "parallelism: 2",
            "state: { backend: rocksdb, directory: s, max_open_files: -2 }",
            r#"error[J0107]: `max_open_files` is -2, but must be from -1 to 1000000
  --> job.yaml:2:58"#,
        ),
        (
            "parallelism: 2",
            "checkpoints: { interval: 10s }",
            r#"error[J0105]: the field `directory` is missing
  --> job.yaml:2:16
   = help: write `directory:` with the path of a folder"#,
        ),
        (
            "parallelism: 2",
            "checkpoints: { directory: c, interval: 1ms }",
            r#"error[J0107]: `interval` is 1ms, but must be from 10ms to 100years
  --> job.yaml:2:40"#,
        ),
        (
            "parallelism: 2",
            "checkpoints: { directory: c, max_concurrent: 0 }",
            r#"error[J0107]: `max_concurrent` is 0, but must be from 1 to 16
  --> job.yaml:2:46"#,
        ),
        (
            "parallelism: 2",
            "checkpoints: { directory: \"\" }",
            r#"error[J0107]: `directory` is empty
  --> job.yaml:2:27
   = help: write the path of a folder"#,
        ),
        (
            "parallelism: 2",
            "restart: always",
            r#"error[J0107]: `always` is not possible here
  --> job.yaml:2:10
   = help: the possible values are `none`, `fixed_delay`, `exponential_delay` and `failure_rate`"#,
        ),
        (
            "parallelism: 2",
            "restart: { exponential_delay: { initial: 10s, max: 1s } }",
            r#"error[J0107]: `max` is 1s, but must be from 10s to 100years
  --> job.yaml:2:52"#,
        ),
        (
            "parallelism: 2",
            "restart: { exponential_delay: { jitter: 2 } }",
            r#"error[J0107]: `jitter` is 2, but must be from 0 to 1
  --> job.yaml:2:41"#,
        ),
        (
            "parallelism: 2",
            "restart: { fixed_delay: { attempt: 3 } }",
            r#"error[J0104]: unknown field `attempt`
  --> job.yaml:2:27
   = help: did you mean `attempts`?"#,
        ),
    ]);
}

#[test]
fn a_source_that_cannot_replay_says_so_where_there_are_checkpoints() {
    check_refused(&[
        (
            "parallelism: 2",
            "checkpoints: { directory: c }",
            r#"error[J0216]: source `lines` cannot read its records again after a failure: `socket` loses them
  --> job.yaml:4:3
   = help: write `delivery: at_most_once` if that may be, or read from a connector that can, such as `file`"#,
        ),
        (
            "{ socket: { address: \"localhost:9999\" }, format: text }",
            "{ generator: { workload: lines }, delivery: at_most_once }",
            r#"error[J0216]: source `lines` loses nothing: `generator` can read its records again
  --> job.yaml:4:54
   = help: leave out `delivery: at_most_once`"#,
        ),
        (
            "format: text",
            "delivery: twice",
            r#"error[J0107]: `twice` is not possible here
  --> job.yaml:4:61
   = help: the possible values are `at_most_once`"#,
        ),
    ]);
}

#[test]
fn what_a_failure_may_cost_is_warned_of() {
    let warnings = |line: &str, delivery: &str| {
        planned(&with("parallelism: 2", line).replacen("format: text", delivery, 1)).unwrap().warnings
    };
    let (loses, twice) = (
        "source `lines` delivers at most once: a failure loses the records it has read since the last checkpoint",
        "sink `out` writes at least once: after a failure, rows since the last checkpoint may be there twice",
    );
    let at_most_once = "delivery: at_most_once";
    assert_eq!(warnings("checkpoints: { directory: c }", at_most_once), [loses, twice]);
    assert_eq!(warnings("checkpoints: { directory: c, mode: at_least_once }", at_most_once), [loses]);
    assert_eq!(warnings("parallelism: 1", at_most_once), [""; 0]);
    assert_eq!(
        warnings("restart: { fixed_delay: {} }", "format: text"),
        ["without checkpoints a restart begins anew: everything is read and written again"]
    );
}
