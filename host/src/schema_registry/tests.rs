//! What is asked of a registry, and what becomes of its answers: a server that answers by a table, and a clock whose time goes by in pauses.
use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::codec::Secret;

/// Whoever waits has waited.
#[derive(Default)]
struct Skipping(AtomicU64);

impl Clock for Skipping {
    fn now_ms(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.fetch_max(deadline.as_millis() as u64 + 1, Ordering::SeqCst);
        Box::pin(async {})
    }
}

/// Answers by path, one after the other, the last for ever; and what was asked.
type Answers = HashMap<&'static str, Vec<(u16, String)>>;

async fn server(answers: Answers) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/below", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = asked.clone();
    tokio::spawn(async move {
        let mut answers = answers;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut read) = (vec![0; 64 << 10], 0);
            while !request[..read].ends_with(b"\r\n\r\n") {
                read += stream.read(&mut request[read..]).await.unwrap();
            }
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = text.split(' ').nth(1).unwrap().strip_prefix("/below").unwrap().to_owned();
            told.lock().unwrap().push(text);
            let (status, body) = match answers.get_mut(&*path) {
                Some(answers) if answers.len() > 1 => answers.remove(0),
                Some(answers) => answers[0].clone(),
                None => (404, r#"{"error_code":40403,"message":"none"}"#.to_owned()),
            };
            let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            // Whoever asks may have gone.
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    (url, asked)
}

fn registry(url: &str, login: Option<(&str, &str)>) -> SchemaRegistry {
    let secret = |text: &str| serde_json::from_value::<Secret>(text.into()).unwrap();
    let login = login.map(|(username, password)| (username.to_owned(), secret(password)));
    let settings = RegistrySettings { url: url.to_owned(), login, ca: None };
    SchemaRegistry::new(&settings, Arc::new(Skipping::default()))
}

fn schema(text: &str, kind: &str, references: &[(&str, &str)]) -> String {
    let reference =
        |(name, subject): &(&str, &str)| serde_json::json!({"name": name, "subject": subject, "version": 1});
    let references: Vec<_> = references.iter().map(reference).collect();
    serde_json::json!({"schema": text, "schemaType": kind, "references": references}).to_string()
}

#[tokio::test]
async fn a_schema_comes_with_all_it_refers_to_each_once() {
    let answers = [
        ("/schemas/ids/7", schema("root", "PROTOBUF", &[("a.proto", "a/b"), ("c.proto", "c")])),
        ("/subjects/a%2Fb/versions/1", schema("a", "PROTOBUF", &[("c.proto", "c")])),
        ("/subjects/c/versions/1", schema("c", "PROTOBUF", &[("a.proto", "a/b")])),
        ("/schemas/ids/8", schema("root", "AVRO", &[("gone", "gone")])),
        ("/schemas/ids/9", schema("root", "XML", &[])),
        ("/schemas/ids/10", schema(&"x".repeat(SCHEMA_BYTES_MAX + 1), "AVRO", &[])),
        ("/schemas/ids/11", "x".repeat(ANSWER_BYTES_MAX + 1)),
    ];
    let answers = answers.into_iter().map(|(path, body)| (path, vec![(200, body)])).collect();
    let (url, asked) = server(answers).await;
    let registry = registry(&url, Some(("alice", "secret")));
    let named = |name: &str, text: &str| ReferencedSchema { name: name.into(), text: text.into() };
    let references = vec![named("a.proto", "a"), named("c.proto", "c")];
    let found = RegisteredSchema { kind: SchemaKind::Protobuf, text: "root".into(), references };
    assert_eq!(registry.schema(7).await.unwrap(), Lookup::Found(found));
    assert_eq!(asked.lock().unwrap().len(), 3);
    // alice:secret
    assert!(asked.lock().unwrap()[0].contains("authorization: Basic YWxpY2U6c2VjcmV0"));
    for id in [0, 1, u32::MAX] {
        assert_eq!(registry.schema(id).await.unwrap(), Lookup::Unknown);
    }
    for (id, part) in [(8, "version 1 of `gone`"), (9, "XML"), (10, "bytes"), (11, "bytes")] {
        let found = registry.schema(id).await.unwrap();
        assert!(matches!(&found, Lookup::Unreadable(why) if why.contains(part)), "{found:?}");
    }
}

#[tokio::test]
async fn what_may_pass_is_asked_for_again_for_a_while() {
    let ok = (200, schema("x", "AVRO", &[]));
    let answers = [
        ("/schemas/ids/1", vec![(503, String::new()), (500, "oh".into()), ok]),
        ("/schemas/ids/2", vec![(503, "busy".into())]),
        ("/schemas/ids/3", vec![(401, String::new())]),
        ("/schemas/ids/4", vec![(404, "<html>".into())]),
    ];
    let (url, asked) = server(answers.into_iter().collect()).await;
    let registry = registry(&url, None);
    assert!(matches!(registry.schema(1).await.unwrap(), Lookup::Found(_)));
    assert_eq!(std::mem::take(&mut *asked.lock().unwrap()).len(), 3);
    let error = registry.schema(2).await.unwrap_err();
    assert!(error.retry && error.code == "C0420" && error.to_string().contains("busy"), "{error:?}");
    // Pauses that double up to 5 s, for 30 s.
    assert!((7..20).contains(&std::mem::take(&mut *asked.lock().unwrap()).len()));
    for id in [3, 4] {
        let error = registry.schema(id).await.unwrap_err();
        assert!(!error.retry && error.place == url, "{error:?}");
    }
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn nobody_there_is_a_failure_that_may_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = registry(&url, None).schema(1).await.unwrap_err();
    assert!(error.retry && error.code == "C0420", "{error:?}");
}
