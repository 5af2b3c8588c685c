//! The audit log after everything that may happen to its file.
use std::{fs, path::Path, sync::Arc};

use super::*;
use crate::model::SystemClock;

fn open(path: &Path) -> Result<AuditLog, AuditError> {
    AuditLog::open(path, Arc::new(SystemClock::new()))
}

fn event(number: usize) -> Event {
    Event {
        who: "ann".into(),
        action: "plugin.push".into(),
        subject: format!("p@1.0.{number}"),
        outcome: "done".into(),
        to: Some("\u{1}\"ü".into()),
        ..Event::default()
    }
}

/// A log with so many entries, and its text.
fn written(path: &Path, entries: usize) -> String {
    let log = open(path).unwrap();
    for number in 0..entries {
        log.append(event(number)).unwrap();
    }
    fs::read_to_string(path).unwrap()
}

#[test]
fn what_was_appended_is_read_again_from_anywhere() {
    const ENTRIES: usize = 600;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    written(&path, ENTRIES);
    let log = open(&path).unwrap();
    assert_eq!(log.verify().unwrap(), ENTRIES as u64);
    log.append(event(ENTRIES)).unwrap();
    for from in [0, 255, 256, 511, 600] {
        let entries = log.read(from, 3).unwrap();
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(numbers, (from..601).take(3).collect::<Vec<_>>());
        assert!(entries.iter().all(|entry| entry.subject == format!("p@1.0.{}", entry.sequence)));
    }
    assert!(log.read(601, 3).unwrap().is_empty());
}

#[test]
fn every_change_is_found_and_placed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let text = written(&path, 4);
    let lines: Vec<&str> = text.lines().collect();
    let join = |lines: &[&str]| lines.join("\n") + "\n";
    // A forger who computes the entry's own hash again is found one later.
    let mut forged = Entry::parse(format!("{}\n", lines[1]).as_bytes()).unwrap();
    forged.who = "eve".into();
    let forged = Entry::new(1, forged.time_ms, Event { who: "eve".into(), ..event(1) }, forged.previous.clone());
    for (changed, entry) in [
        (text.replacen("p@1.0.2", "p@1.0.9", 1), 2),
        (join(&[lines[0], lines[2], lines[3]]), 1),
        (join(&[lines[1], lines[2]]), 0),
        (join(&[lines[0], lines[0], lines[1]]), 1),
        (join(&[lines[0], forged.line().trim(), lines[2]]), 2),
        (text.replacen("\"who\"", " \"who\"", 1), 0),
        (text.replacen('\n', "\n\n", 1), 1),
    ] {
        fs::write(&path, &changed).unwrap();
        let error = open(&path).err().unwrap();
        assert!(matches!(error, AuditError::Chain { entry: found, .. } if found == entry), "{error}: {changed}");
    }
}

#[test]
fn a_change_under_a_running_log_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    written(&path, 3);
    let log = open(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    assert!(matches!(log.verify(), Err(AuditError::Chain { .. })));
}

#[test]
fn a_torn_last_line_is_cut_off_and_noted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let text = written(&path, 3);
    let whole = text.trim_end().rfind('\n').unwrap() + 1;
    for cut in [whole + 1, whole + 40, text.len() - 1] {
        fs::write(&path, &text[..cut]).unwrap();
        let log = open(&path).unwrap();
        let entries = log.read(0, 10).unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[2].action, "audit.repair");
        assert!(entries[2].outcome.starts_with(&format!("{} bytes", cut - whole)), "{}", entries[2].outcome);
        log.append(event(9)).unwrap();
        assert_eq!(open(&path).unwrap().verify().unwrap(), 4);
    }
}

#[test]
fn what_was_begun_is_noted_by_the_next_process_if_this_one_did_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let log = open(&path).unwrap();
    let [noted, other, left] = ["POST /a", "POST /b", "DELETE /c"]
        .map(|what| log.begin("ann", what, Some(format!("memo of {what}"))).unwrap());
    log.append(event(0)).unwrap();
    drop((noted, other));
    // As if it was killed.
    std::mem::forget(left);
    drop(log);
    fs::write(directory.path().join("audit.begun/torn.json"), "{\"who\":").unwrap();
    let log = open(&path).unwrap();
    assert_eq!(log.left(), [Left { who: "ann".into(), memo: "memo of DELETE /c".into() }]);
    let entries = log.read(0, 10).unwrap();
    let told: Vec<_> = entries.iter().map(|it| [&*it.who, &*it.action, &*it.subject]).collect();
    assert_eq!(told, [["ann", "plugin.push", "p@1.0.0"], ["ann", "request", "DELETE /c"]]);
    assert!(entries[1].outcome.contains("before it was noted"), "{}", entries[1].outcome);
    assert_eq!(fs::read_dir(directory.path().join("audit.begun")).unwrap().count(), 0);
    drop(log);
    let log = open(&path).unwrap();
    assert_eq!((log.verify().unwrap(), log.left()), (2, &[][..]));
}
