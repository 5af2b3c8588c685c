//! A source that says nothing: with `idle` it does not hold back the windows of the others, and what it says later may be late.
use std::{
    io::Write,
    net::{TcpListener, TcpStream},
};

use tokio_util::sync::CancellationToken;

use super::jobs::{self, Variables};

const JOB: &str = r#"
name: idle
parallelism: ${PARALLELISM}
batch: { records: 1 }
sources:
  talking: { socket: { address: "${TALKING}", reconnect: false }, format: csv, schema: { at: i64, line: string }, time: { column: at } }
  silent:
    socket: { address: "${SILENT}", reconnect: false }
    format: csv
    schema: { at: i64, line: string }
    time: { column: at, idle: 1ms }
    # One subtask, so that it alone can hold back event time.
    parallelism: 1
operators:
  words: { input: [talking, silent], transform: { plugin: "${WORD_COUNT}" }, parallelism: 1 }
  counts: { input: words, key: word, window: { tumbling: 5s }, aggregate: { plugin: "${WORD_COUNT}" } }
sinks:
  out: { input: counts, file: { path: "${OUT}" } }
  late: { input: counts.late, file: { path: "${OUT}.late" } }
"#;

/// A server that says what the test writes, to one client.
fn server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

async fn accept(listener: TcpListener) -> TcpStream {
    tokio::task::spawn_blocking(move || listener.accept().unwrap().0).await.unwrap()
}

#[test]
fn an_idle_source_holds_back_no_window() {
    for parallelism in ["1", "2", "4"] {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let ((talking, talking_at), (silent, silent_at)) = (server(), server());
        let variables = Variables::from([
            ("PARALLELISM", parallelism.to_owned()),
            ("TALKING", talking_at),
            ("SILENT", silent_at),
            ("WORD_COUNT", jobs::plugin("word-count")),
            ("OUT", out.display().to_string()),
        ]);
        let prepared = jobs::prepared(JOB, directory.path(), &variables).unwrap_or_else(|error| panic!("{error}"));
        jobs::runtime().block_on(async {
            let job = jobs::start(prepared, &CancellationToken::new());
            let view = job.view();
            let counts = || jobs::node(&view.nodes(), "counts").clone();
            let waiting = tokio::spawn(job.wait());
            let (mut talking, mut silent) = (accept(talking).await, accept(silent).await);
            talking.write_all(b"1000,a b a\n5000,c\n").unwrap();
            // The window until 5000 fires though the other source has said nothing: a and b.
            while counts().records_out < 2 {
                assert!(!waiting.is_finished());
                tokio::task::yield_now().await;
            }
            silent.write_all(b"4999,d\n5001,c\n").unwrap();
            while counts().late < 1 {
                assert!(!waiting.is_finished());
                tokio::task::yield_now().await;
            }
            drop((talking, silent));
            waiting.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
        });
        let expected = [
            r#"{"word":"a","window_start":0,"window_end":5000,"count":2}"#,
            r#"{"word":"b","window_start":0,"window_end":5000,"count":1}"#,
            r#"{"word":"c","window_start":5000,"window_end":10000,"count":2}"#,
        ];
        assert_eq!(jobs::lines(&out), expected, "at parallelism {parallelism}");
        assert_eq!(jobs::lines(&directory.path().join("out.late")), [r#"{"word":"d"}"#]);
    }
}
