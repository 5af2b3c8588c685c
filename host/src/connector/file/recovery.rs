//! The file sink against being killed at any point: what the directory holds after recovery.
use std::{fs, path::Path};

use super::FileSink;
use crate::connector::{
    ConnectorError, Opening, Sink, SinkWriter,
    testing::{batch, clock, names, opening, recovery},
};

const RECORDS: usize = 10;
/// Records between two checkpoints. With parts of two records, each checkpoint has two.
const INTERVAL: usize = 3;

fn sink(directory: &Path, delivery: &str) -> FileSink {
    let mut sink: FileSink =
        serde_saphyr::from_str(&format!("{{ path: ., delivery: {delivery}, roll: {{ size: 8B }} }}")).unwrap();
    sink.resolve_paths(directory);
    sink
}

fn open(sink: &FileSink, uid: &str, subtask: usize, start: u64) -> Box<dyn SinkWriter> {
    sink.open(&Opening { uid: uid.into(), start, ..opening(subtask, 2, &clock()) }).unwrap()
}

async fn write(writer: &mut dyn SinkWriter, record: usize) {
    let (rows, encoded) = batch(&[format!("r{record:02}").as_str()]);
    writer.write(&rows, &encoded).await.unwrap();
}

/// Records in files that are visible, sorted.
fn visible(directory: &Path) -> Vec<String> {
    let names = names(directory).into_iter().filter(|name| !name.starts_with('.'));
    let text = names.map(|name| fs::read_to_string(directory.join(name)).unwrap()).collect::<String>();
    let mut records = text.lines().map(str::to_owned).collect::<Vec<_>>();
    records.sort();
    records
}

fn written(records: impl IntoIterator<Item = usize>) -> Vec<String> {
    records.into_iter().map(|record| format!("r{record:02}")).collect()
}

/// The last complete checkpoint: the next record, and what is to be committed.
#[derive(Default)]
struct Checkpoint {
    next: usize,
    committables: Vec<Vec<u8>>,
}

/// Runs until `steps` are done or all is; true if all is.
async fn run(sink: &FileSink, start: u64, complete: &mut Checkpoint, mut steps: usize) -> bool {
    macro_rules! step {
        () => {
            if steps == 0 {
                return false;
            }
            steps -= 1;
        };
    }
    sink.recover(&recovery(start), &complete.committables).await.unwrap();
    step!();
    let mut writer = open(sink, "node", 0, start);
    for record in complete.next..RECORDS {
        write(&mut *writer, record).await;
        step!();
        if (record + 1) % INTERVAL == 0 || record + 1 == RECORDS {
            writer.flush().await.unwrap();
            let committables = writer.prepare(record as u64).await.unwrap();
            step!();
            *complete = Checkpoint { next: record + 1, committables: committables.clone() };
            step!();
            for committable in committables {
                writer.commit(&[committable]).await.unwrap();
                step!();
            }
        }
    }
    writer.close().await.unwrap();
    true
}

#[tokio::test]
async fn killed_anywhere_and_again_each_record_is_there_exactly_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut steps = 0;
    loop {
        // Killed the second time after nothing, a little, or almost as much.
        let mut finished = false;
        for (turn, again) in [0, 1, 5, steps].into_iter().enumerate() {
            let path = directory.path().join(format!("{steps}-{turn}"));
            fs::create_dir(&path).unwrap();
            let (sink, mut complete) = (sink(&path, "exactly_once"), Checkpoint::default());
            finished = run(&sink, 1, &mut complete, steps).await;
            let committed = complete.next;
            sink.recover(&recovery(2), &complete.committables).await.unwrap();
            assert_eq!(visible(&path), written(0..committed), "killed after {steps} steps");
            assert!(names(&path).iter().all(|name| !name.starts_with('.')), "killed after {steps} steps");
            run(&sink, 2, &mut complete, again).await;
            assert!(run(&sink, 3, &mut complete, usize::MAX).await);
            assert_eq!(visible(&path), written(0..RECORDS), "killed after {steps} steps, then after {again}");
            assert!(names(&path).iter().all(|name| !name.starts_with('.')));
        }
        if finished {
            break;
        }
        steps += 1;
    }
    assert!(steps > 20);
}

#[tokio::test]
async fn killed_anywhere_each_record_is_there_at_least_once() {
    let directory = tempfile::tempdir().unwrap();
    for steps in 0.. {
        let path = directory.path().join(steps.to_string());
        fs::create_dir(&path).unwrap();
        let (sink, mut complete) = (sink(&path, "at_least_once"), Checkpoint::default());
        let finished = run(&sink, 1, &mut complete, steps).await;
        assert!(run(&sink, 2, &mut complete, usize::MAX).await);
        let mut found = visible(&path);
        found.dedup();
        assert_eq!(found, written(0..RECORDS), "killed after {steps} steps");
        assert!(names(&path).iter().all(|name| !name.starts_with('.')));
        if finished {
            break;
        }
    }
}

/// Two subtasks with a part each, prepared and not committed.
async fn prepared(sink: &FileSink) -> Vec<Vec<u8>> {
    let mut committables = Vec::new();
    for subtask in 0..2 {
        let mut writer = open(sink, "node", subtask, 1);
        write(&mut *writer, subtask).await;
        committables.extend(writer.prepare(1).await.unwrap());
        // Begun after the checkpoint.
        write(&mut *writer, 9).await;
    }
    committables
}

#[tokio::test]
async fn recovery_goes_on_wherever_it_was_cut_off_and_leaves_alone_what_is_not_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let sink = sink(path, "exactly_once");
    let committables = prepared(&sink).await;
    // Another sink of the directory, and a later start of this one, which something else knows of.
    let (mut other, mut later) = (open(&sink, "other", 0, 1), open(&sink, "node", 0, 7));
    write(&mut *other, 7).await;
    write(&mut *later, 8).await;
    // Killed between giving the new name and taking the old one, too.
    fs::hard_link(path.join(".part-1-1-0.jsonl.node.inprogress"), path.join("part-1-1-0.jsonl")).unwrap();
    for _ in 0..2 {
        sink.recover(&recovery(2), &committables).await.unwrap();
        // The number after those of the other.
        let left = [".part-0-1-2.jsonl.other.inprogress", ".part-0-7-0.jsonl.node.inprogress"];
        assert_eq!(names(path), [&left[..], &["part-0-1-0.jsonl", "part-1-1-0.jsonl"]].concat());
        assert_eq!(visible(path), written(0..2));
    }
}

#[tokio::test]
async fn parts_that_are_gone_or_changed_are_errors() {
    let (hidden, name) = (".part-1-1-0.jsonl.node.inprogress", "part-1-1-0.jsonl");
    let both = |error: ConnectorError, what: &str| {
        assert!(error.what.contains(hidden) && error.what.contains(name) && error.what.contains(what), "{error}");
        assert!(!error.retry);
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let sink = sink(path, "exactly_once");
    let committables = prepared(&sink).await;
    // Of equal length.
    fs::write(path.join(name), "r77\n").unwrap();
    both(sink.recover(&recovery(2), &committables).await.unwrap_err(), "other content");
    assert_eq!(fs::read_to_string(path.join(name)).unwrap(), "r77\n");
    fs::remove_file(path.join(name)).unwrap();
    let content = fs::read(path.join(hidden)).unwrap();
    fs::write(path.join(hidden), "r01\nr02\n").unwrap();
    both(sink.recover(&recovery(2), &committables).await.unwrap_err(), "8 bytes instead of 4");
    fs::remove_file(path.join(hidden)).unwrap();
    both(sink.recover(&recovery(2), &committables).await.unwrap_err(), "neither");
    fs::write(path.join(hidden), content).unwrap();
    sink.recover(&recovery(2), &committables).await.unwrap();
    assert_eq!(visible(path), written(0..2));
    let error = sink.recover(&recovery(2), &[b"\x07".to_vec()]).await.unwrap_err();
    assert!(error.what.contains("version 7"));
}
