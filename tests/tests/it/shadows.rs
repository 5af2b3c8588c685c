//! A version that is tried beside the one in force is given the same time and the same chance: the same plugin makes the same of all, whatever it makes
//! of either. Must not know how that comes about.
use std::{fmt::Write as _, fs::File, io::Write};

use wasmill::control::{ChangeRequest, ShadowRequest};

use super::{canaries::start, jobs};

const JOB: &str = r#"
name: chance
state: STATE
sources:
  events: { file: { path: input.jsonl, follow: true, poll: 1ms }, format: json, schema: { id: i64, user: string }, time: { column: id } }
operators:
  sums: { input: events, key: user, keyed_process: { plugin: "${PLUGIN}", config: { chance: true } } }
sinks:
  out: { input: sums, discard: {} }
"#;

/// Events at a time, each of a user of its own, whose timers by processing time are awaited before there are more.
const EVENTS: u64 = 20;
const TIMES: u64 = 20;

#[test]
fn a_shadow_has_the_moments_and_the_state_of_what_it_is_compared_with() {
    for state in ["{ backend: memory }", "{ backend: rocksdb, directory: state }"] {
        compare(&JOB.replace("STATE", state));
    }
}

fn compare(job: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut input = File::create(folder.path().join("input.jsonl")).unwrap();
    jobs::runtime().block_on(async {
        let job = start(folder.path(), job, (1, 1000), Vec::new());
        let view = job.view();
        let mut done = async |time: u64| {
            let text = (0..EVENTS).fold(String::new(), |mut text, user| {
                writeln!(text, r#"{{"id":{time},"user":"u{user}"}}"#).unwrap();
                text
            });
            input.write_all(text.as_bytes()).unwrap();
            // For each event a row and a timer.
            while jobs::node(&view.nodes(), "sums").records_out < 2 * EVENTS * (time + 1) && !view.has_ended() {
                tokio::task::yield_now().await;
            }
        };
        done(0).await;
        let change = ChangeRequest {
            operator: "sums".to_owned(),
            kind: None,
            plugin: None,
            configuration: Some(r#"{ "chance": true, "mark": 1 }"#.to_owned()),
            trial: None,
            force: Vec::new(),
        };
        let shadow = ShadowRequest { change, ignored: vec!["mark".to_owned()] };
        view.shadow(view.prepare_shadow(shadow).unwrap()).await.unwrap();
        for time in 1..=TIMES {
            done(time).await;
        }
        let compared = view.shadows().pop().unwrap().compared;
        let unequal = (compared.missing, compared.extra, compared.different, compared.failed);
        assert_eq!(unequal, (0, 0, 0, 0), "{compared:?}");
        assert!(compared.equal > EVENTS * TIMES, "{compared:?}");
    });
}
