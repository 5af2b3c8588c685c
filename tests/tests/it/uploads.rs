//! Plugins uploaded to the real server: what becomes of good ones, who may upload them, and how what is wrong is answered.
use std::fs;

use reqwest::{
    Body, Method, Response,
    multipart::{Form, Part},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmill::plugin::build::componentize;

use super::{
    jobs, refused,
    server::{Server, command, json, problem},
};

/// A transform called `fine` 0.1.0, with more in its module.
pub fn fine_with(more: &str) -> Vec<u8> {
    componentize(&refused::fine_with(more)).unwrap().into_owned()
}

/// Uploads this.
pub async fn push(server: &Server, bytes: impl Into<Body>) -> Response {
    let request = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
    request.body(bytes).send().await.unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Plugins on a page.
pub fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| format!("{}@{}", item["name"].as_str().unwrap(), item["version"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_plugin_goes_up_and_comes_down_again() {
    let server = Server::start(&[]);
    let bytes = fs::read(jobs::plugin("word-count")).unwrap();
    let uploaded = json(push(&server, bytes.clone()).await, 201).await;
    assert_eq!(uploaded["created"], true);
    let plugin = &uploaded["plugin"];
    assert_eq!((&plugin["name"], &plugin["digest"]), (&"word-count".into(), &sha256(&bytes).into()));
    let version = format!("/v1/plugins/word-count/{}", plugin["version"].as_str().unwrap());

    let form = Form::new().part("file", Part::bytes(bytes.clone()));
    let again = server.request(Method::POST, "/v1/plugins").multipart(form).send().await.unwrap();
    assert_eq!(again.headers()["location"], *version);
    assert_eq!(json(again, 200).await["created"], false);
    // Another file of the same name and version.
    let mut other = bytes.clone();
    other.extend([0, 3, 1, b'x', b'y']);
    assert_eq!(problem(push(&server, other).await, 409).await, "R0105");

    let server = Server::start_in(server.kill(), &[]);
    assert_eq!(names(&server.json("/v1/plugins").await).len(), 1);
    assert_eq!(server.json(&version).await, *plugin);
    let file = server.get(&format!("{version}/component")).await;
    let tag = file.headers()["etag"].clone();
    assert_eq!(file.bytes().await.unwrap(), bytes);
    let known = server.request(Method::GET, &version).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(known.status(), 304);

    let delete =
        async |tag: &str| server.request(Method::DELETE, &version).header("if-match", tag).send().await.unwrap();
    assert_eq!(problem(delete("\"0\"").await, 412).await, "R0214");
    assert_eq!(delete(&format!("\"{}\"", sha256(&bytes))).await.status(), 204);
    assert_eq!(problem(server.get("/v1/plugins/word-count").await, 404).await, "R0106");
    assert_eq!(problem(server.get(&version).await, 404).await, "R0106");
    let log = server.json("/v1/audit?limit=2").await;
    let entries = log["items"].as_array().unwrap();
    assert_eq!(entries[0]["action"], "plugin.push");
    assert!(entries[1]["outcome"].as_str().unwrap().contains("R0105"), "{log}");
    let rest = server.json(&format!("/v1/audit?cursor={}", log["next"].as_str().unwrap())).await;
    assert_eq!((&rest["items"][0]["action"], &rest["next"]), (&"plugin.delete".into(), &Value::Null));
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_same_request_is_answered_once() {
    let server = Server::start(&[]);
    let ask = async |key: &str, bytes: Vec<u8>| {
        let request = server.request(Method::POST, "/v1/plugins").header("content-type", "application/octet-stream");
        request.header("idempotency-key", key).body(bytes).send().await.unwrap()
    };
    let bytes = fine_with("");
    let first = json(ask("one", bytes.clone()).await, 201).await;
    assert_eq!(json(ask("one", bytes.clone()).await, 201).await, first);
    assert_eq!(problem(ask("one", fine_with("(data \"x\")")).await, 422).await, "R0213");
    assert_eq!(json(ask("two", bytes).await, 200).await["created"], false);
}

#[tokio::test]
async fn callers_may_do_what_their_role_says() {
    let data = tempfile::tempdir().unwrap();
    let tokens = data.path().join("tokens");
    let roles = ["viewer", "operator", "admin"];
    let lines = roles.map(|role| format!("{} {role}-name {role}\n", sha256(format!("{role}'s").as_bytes())));
    fs::write(&tokens, lines.concat()).unwrap();
    let mut server = Server::start_in(data, &["--tokens", tokens.to_str().unwrap()]);
    assert_eq!(server.get("/health/ready").await.status(), 204);
    for token in [None, Some("nobody's")] {
        server.become_caller(token);
        assert_eq!(problem(server.get("/v1/plugins").await, 401).await, "R0201");
        assert_eq!(problem(push(&server, fine_with("")).await, 401).await, "R0201");
    }
    for (role, pushed, deleted) in [("viewer", 403, 403), ("operator", 201, 403), ("admin", 200, 204)] {
        server.become_caller(Some(&format!("{role}'s")));
        assert_eq!(server.get("/v1/plugins").await.status(), 200, "{role}");
        assert_eq!(push(&server, fine_with("")).await.status(), pushed, "{role}");
        let delete = server.request(Method::DELETE, "/v1/plugins/fine/0.1.0").send().await.unwrap();
        assert_eq!(delete.status(), deleted, "{role}");
    }
    let log = server.json("/v1/audit").await;
    let who: Vec<&str> = log["items"].as_array().unwrap().iter().map(|entry| entry["who"].as_str().unwrap()).collect();
    assert_eq!(who, ["operator-name", "admin-name"]);
}

#[tokio::test]
async fn every_error_is_a_problem_and_every_route_is_described() {
    let server = Server::start(&[]);
    assert_eq!(problem(server.get("/v1/nothing").await, 404).await, "R0205");
    assert_eq!(problem(server.get("/v1/plugins?limit=0").await, 400).await, "R0209");
    assert_eq!(problem(server.get("/v1/plugins?limit=x").await, 400).await, "R0209");
    assert_eq!(problem(server.get("/v1/plugins?cursor=x").await, 400).await, "R0209");
    assert_eq!(problem(server.get("/v1/plugins/%ff").await, 400).await, "R0209");
    let put = server.request(Method::PUT, "/v1/plugins").send().await.unwrap();
    assert_eq!(problem(put, 405).await, "R0206");
    let text = server.request(Method::POST, "/v1/plugins").body("text").send().await.unwrap();
    assert_eq!(problem(text, 415).await, "R0208");
    for path in ["stop", "savepoints", "operators/x/promote"] {
        let unnamed = server.request(Method::POST, &format!("/v1/jobs/x/{path}")).body("{}").send().await.unwrap();
        assert_eq!(problem(unnamed, 415).await, "R0208");
    }
    let rebound = server.request(Method::GET, "/v1/plugins").header("host", "evil.example").send().await.unwrap();
    assert_eq!(problem(rebound, 403).await, "R0202");
    let page = server.get("/errors/R0205").await;
    assert_eq!(page.headers()["content-type"], "text/markdown; charset=utf-8");
    assert!(page.text().await.unwrap().starts_with("# R0205: "));
    assert_eq!(problem(server.get("/errors/R0000").await, 404).await, "R0205");

    let openapi = server.json("/v1/openapi.json").await;
    let paths = openapi["paths"].as_object().unwrap();
    for (path, operations) in paths.iter().filter(|(path, _)| path.starts_with("/v1/")) {
        for (method, operation) in operations.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let problems = responses.iter().filter(|(status, _)| status.starts_with('4'));
            let described = |(_, response): (&String, &Value)| response["content"].is_object();
            assert!(problems.clone().count() > 1 && problems.clone().all(described), "{method} {path}: {operation}");
        }
    }
    let push = &paths["/v1/plugins"]["post"];
    for status in ["200", "201", "401", "403", "409", "413", "415", "422", "429", "503", "507"] {
        assert!(push["responses"][status]["content"].is_object(), "{status}: {push}");
    }
    assert_eq!(push["requestBody"]["content"].as_object().unwrap().len(), 3);
    assert!(server.get("/docs").await.text().await.unwrap().contains("/v1/openapi.json"));
    assert!(server.get("/metrics").await.text().await.unwrap().contains("wasmill_http_requests_total{"));
}

#[test]
fn a_server_that_cannot_be_safe_does_not_start() {
    let data = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], code: &str| {
        let output = command(data.path(), arguments).stderr(std::process::Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && text.contains(code), "{}: {text}", output.status);
    };
    refused(&["--tokens", "/nowhere"], "[R0204]");
    refused(&["--require-signature", "/nowhere"], "[R0219]");
    refused(&["--tls-certificate", "/nowhere", "--tls-key", "/nowhere"], "[R0217]");
    for arguments in
        [&["--address", "127.0.0.1:0"][..], &["--address", "0.0.0.0:0"], &["--address", "0.0.0.0:0", "--no-auth"]]
    {
        let mut open = std::process::Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
        let output = open.args(["serve", "--data"]).arg(data.path()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(3) && text.contains("[R0203]"), "{arguments:?}: {text}");
    }
    let running = Server::start(&[]);
    let path = running.path("");
    let output = command(&path, &[]).stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("[R0216]"));
    let data = running.kill();
    let log = data.path().join("audit.jsonl");
    fs::write(&log, "{}\n").unwrap();
    let output = command(data.path(), &[]).stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("[R0301]"));
}
