//! Jobs as a caller sees them: a whole server in this process, asked over HTTP.
use std::{io::Write, net::TcpStream, path::Path, sync::Arc};

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Server, ServerSettings};
use crate::{
    control::data_runtime,
    model::{Clock, SystemClock},
    service::{JobLogs, State},
};

struct Caller {
    client: Client,
    url: String,
}

impl Caller {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = body.into_iter().fold(request, |request, body| request.json(&body));
        request.send().await.unwrap()
    }

    /// The answer, which must have this status; null if there is no body.
    async fn answer(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> Value {
        let response = self.ask(method, path, body).await;
        let (found, text) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(found, status, "{path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// What is created by a request whose first caller is gone as soon as it has asked.
    async fn create_at_a_second_try(&self, path: &str, body: Value) -> Value {
        let key = ("idempotency-key", "this one");
        let (body, host) = (body.to_string(), self.url.strip_prefix("http://").unwrap());
        let mut first = TcpStream::connect(host).unwrap();
        let header = format!("host: {host}\r\ncontent-type: application/json\r\n{}: {}", key.0, key.1);
        write!(first, "POST {path} HTTP/1.1\r\n{header}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        drop(first);
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        let response = request.header(key.0, key.1).body(body).send().await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(status, 201, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The status of an answer to a request with a condition.
    async fn conditional(&self, method: Method, path: &str, (name, tag): (&str, &str)) -> u16 {
        let request = self.client.request(method, format!("{}{path}", self.url)).header(name, tag);
        request.json(&json!({ "parallelism": 1 })).send().await.unwrap().status().as_u16()
    }

    async fn get(&self, path: &str) -> Value {
        self.answer(Method::GET, path, None, 200).await
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.answer(Method::POST, path, Some(body), status).await
    }

    async fn text(&self, path: &str) -> String {
        self.ask(Method::GET, path, None).await.text().await.unwrap()
    }
}

fn settings(data: &Path) -> ServerSettings {
    ServerSettings {
        address: ([127, 0, 0, 1], 0).into(),
        data: data.to_owned(),
        tokens: None,
        no_auth: true,
        tls: None,
        signature_keys: Vec::new(),
        upload_bytes_max: 1,
        secrets: None,
        rate: std::num::NonZeroU32::MAX,
        crash_at_checkpoint: None,
    }
}

/// Copies lines of a file that grows.
fn job(directory: &Path) -> String {
    let path = |name: &str| directory.join(name).display().to_string();
    std::fs::write(directory.join("in"), "a\nb\n").unwrap();
    let source = format!("file: {{ path: '{}', follow: true, poll: 5ms }}", path("in"));
    format!(
        "name: copy\nsources: {{ in: {{ {source} }} }}\nsinks: {{ out: {{ input: in, file: {{ path: '{}' }} }} }}",
        path("out")
    )
}

#[test]
fn a_job_is_submitted_watched_stopped_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = data_runtime().unwrap();
    // Somebody else may have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let logs = JobLogs::new(clock.clone());
        let settings = settings(&directory.path().join("data"));
        let server =
            Server::open(&settings, clock, runtime.handle().clone(), logs).await.unwrap_or_else(|e| panic!("{e}"));
        let (caller, jobs) = (Caller { client: Client::new(), url: server.url() }, server.state().jobs.clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone(), async {}));
        let text = job(directory.path());

        let refused = caller.post("/v1/jobs", json!({ "job": "nam: x" }), 422).await;
        assert_eq!((&refused["code"], &refused["status"]), (&json!("J0104"), &json!(422)));
        let made = caller.create_at_a_second_try("/v1/jobs", json!({ "job": text })).await;
        let id = made["id"].as_str().unwrap().to_owned();
        let of = |what: &str| format!("/v1/jobs/{id}{what}");
        assert_eq!(caller.post("/v1/jobs", json!({ "job": text }), 409).await["code"], "V0102");
        jobs.until(&id, |state| state == State::Running).await.unwrap();
        assert_eq!(caller.get("/v1/jobs").await["items"][0]["name"], "copy");
        assert_eq!(caller.get("/v1/jobs/copy").await["id"], id.as_str());
        assert_eq!(caller.text(&of("/text")).await, text);
        assert_eq!(
            caller.get(&of("/graph")).await["edges"][0],
            json!({ "from": "in", "output": null, "to": "out", "exchange": "forward", "chained": true })
        );
        let number = caller.answer(Method::POST, &of("/checkpoints"), None, 201).await["checkpoint"].clone();
        let kept = caller.get(&of("/checkpoints")).await;
        assert!(kept["items"].as_array().unwrap().iter().any(|info| info["checkpoint"] == number), "{number}: {kept}");
        let tagged = caller.ask(Method::GET, &of(""), None).await;
        let tag = tagged.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(caller.conditional(Method::GET, &of(""), ("if-none-match", &tag)).await, 304);
        let rescaled = caller.post(&of("/rescale"), json!({ "operators": { "out": 2 } }), 200).await;
        assert_eq!(rescaled["parallelism"], json!({ "operators": { "out": 2 } }));
        // That of before.
        assert_eq!(caller.conditional(Method::GET, &of(""), ("if-none-match", &tag)).await, 200);
        assert_eq!(caller.conditional(Method::POST, &of("/rescale"), ("if-match", &tag)).await, 412);
        let state = format!("wasmill_job_state{{job=\"{id}\",name=\"copy\",state=\"running\"}} 1");
        let metrics = caller.text("/metrics").await;
        assert!(metrics.contains(&state) && metrics.contains("wasmill_job_records_in_total{"), "{metrics}");

        let stopped = caller.post(&of("/stop"), json!({ "savepoint": true }), 200).await;
        let savepoint = stopped["savepoint"].as_str().unwrap();
        assert!(stopped["job"]["state"] == "stopped" && Path::new(savepoint).join("manifests").is_dir(), "{stopped}");
        let again = caller.answer(Method::POST, &of("/stop"), None, 409).await;
        assert_eq!((&again["code"], &again["title"]), (&json!("V0103"), &json!("Not possible now")));
        assert_eq!(caller.answer(Method::POST, &of("/restart"), None, 200).await["desired"], "running");
        assert_eq!(caller.answer(Method::POST, &of("/cancel"), None, 200).await["state"], "cancelled");

        let url = format!("{}/v1/events?job={id}", caller.url);
        let mut events = caller.client.get(url).header("last-event-id", "0").send().await.unwrap();
        let mut seen = String::new();
        while !seen.contains(r#""to":"cancelled""#) {
            seen += std::str::from_utf8(&events.chunk().await.unwrap().expect("the stream goes on")).unwrap();
        }
        for part in ["event: state\n", "event: savepoint\n", "event: checkpoint\n", r#""to":"stopped""#] {
            assert!(seen.contains(part), "no {part}: {seen}");
        }
        assert!(seen.find(r#""to":"stopping""#) < seen.find(r#""to":"stopped""#));
        assert_eq!(caller.conditional(Method::DELETE, &of(""), ("if-match", &tag)).await, 412);
        let now = caller.ask(Method::GET, &of(""), None).await;
        let now = now.headers()["etag"].to_str().unwrap().to_owned();
        assert_eq!(caller.conditional(Method::DELETE, &of(""), ("if-match", &now)).await, 204);
        assert_eq!(caller.answer(Method::GET, &of(""), None, 404).await["code"], "V0101");
        let audit = caller.get("/v1/audit").await;
        let actions: Vec<_> =
            audit["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
        let refused = ["job.submit"; 3];
        let rest = ["job.rescale", "job.stop", "job.stop", "job.restart", "job.cancel", "job.delete"];
        assert_eq!(actions, [&refused[..], &rest].concat());

        // The stream that is still open does not hold the server up.
        stop.cancel();
        while events.chunk().await.unwrap().is_some() {}
        running.await.unwrap().unwrap_or_else(|error| panic!("{error}"));
    });
}
