//! The limits of the real server on connections, requests, uploads and streams, each reached: what is beyond is refused, and all else goes on.
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use reqwest::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::server::{Server, problem};

/// As `docs/api.md` says.
const CONNECTIONS_MAX: usize = 512;
const STREAMS_MAX: usize = 64;
const REQUESTS_MAX: usize = 256;
const UPLOADS_MAX: usize = 4;

/// Callers of these tests may ask as often as they like.
const RATE: [&str; 2] = ["--rate-limit", "1000000"];

/// The longest wait for something that is to happen: long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often something is asked until it is as it is to be: often enough for any machine.
const TRIES: usize = 100_000;

const HEALTH: &str = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A connection on which this was said.
fn connect(server: &Server, said: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // One that is closed at once may be closed before.
    let _ = stream.write_all(said.as_bytes());
    stream
}

/// What the server says next; nothing once the connection is closed.
fn hear(mut stream: &TcpStream) -> String {
    let mut bytes = [0; 1024];
    let read = match stream.read(&mut bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
        read => read.expect("an answer, or the end"),
    };
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// The first answer that is as wanted, of those to a request that is made again and again.
async fn first(ask: impl AsyncFn() -> Response, wanted: impl Fn(StatusCode) -> bool) -> Response {
    for _ in 0..TRIES {
        let response = ask().await;
        if wanted(response.status()) {
            return response;
        }
    }
    panic!("asked {TRIES} times");
}

#[test]
fn whoever_keeps_the_server_waiting_for_a_request_loses_the_connection() {
    let server = Server::start(&[]);
    let said = ["", "GET /health/live HTTP/1.1\r\nHost: loc", HEALTH];
    let heard = thread::scope(|scope| {
        let waiting = said.map(|said| {
            let mut stream = connect(&server, said);
            scope.spawn(move || {
                let mut heard = String::new();
                stream.read_to_string(&mut heard).expect("it is closed");
                heard
            })
        });
        waiting.map(|waiting| waiting.join().unwrap())
    });
    assert!(heard[0].is_empty() && heard[1].is_empty(), "{heard:?}");
    assert!(heard[2].starts_with("HTTP/1.1 204"), "{heard:?}");
}

#[test]
fn connections_beyond_the_limit_are_closed_and_the_others_go_on() {
    let server = Server::start(&[]);
    // Each is one that is counted once it was answered.
    let hold = |_| {
        let stream = connect(&server, HEALTH);
        assert!(hear(&stream).starts_with("HTTP/1.1 204"));
        stream
    };
    let mut held: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(hold).collect();
    assert_eq!(hear(&connect(&server, HEALTH)), "");
    held[0].write_all(HEALTH.as_bytes()).unwrap();
    assert!(hear(&held[0]).starts_with("HTTP/1.1 204"));
    held.pop();
    let answered = (0..TRIES).any(|_| hear(&connect(&server, HEALTH)).starts_with("HTTP/1.1 204"));
    assert!(answered);
}

#[tokio::test]
async fn event_streams_beyond_the_limit_are_refused_until_another_ends() {
    let server = Server::start(&RATE);
    let follow = async || server.get("/v1/events").await;
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        let stream = follow().await;
        assert_eq!(stream.status(), 200);
        open.push(stream);
    }
    assert_eq!(problem(follow().await, 503).await, "R0211");
    assert_eq!(server.get("/v1/jobs").await.status(), 200);
    open.pop();
    first(follow, |status| status == 200).await;
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_so_and_others_are_answered() {
    let data = tempfile::tempdir().unwrap();
    let tokens = data.path().join("tokens");
    let line = |name: &str| {
        let digest: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digest} {name} viewer\n")
    };
    fs::write(&tokens, line("ann") + &line("bob")).unwrap();
    let mut server = Server::start_in(data, &["--rate-limit", "1", "--tokens", tokens.to_str().unwrap()]);
    // The last is of nobody: guesses count for where they come from.
    for token in ["ann", "bob", "guess"] {
        server.become_caller(Some(token));
        assert_ne!(server.get("/v1/plugins").await.status(), 429, "{token}");
        let refused = first(async || server.get("/v1/plugins").await, |status| status == 429).await;
        assert_eq!(refused.headers()["retry-after"], "1");
        assert_eq!(problem(refused, 429).await, "R0210");
    }
    for _ in 0..20 {
        assert_eq!(server.get("/health/ready").await.status(), 204);
    }
}

#[test]
fn nothing_is_received_of_those_who_may_change_nothing() {
    let data = tempfile::tempdir().unwrap();
    let tokens = data.path().join("tokens");
    let digest: String = Sha256::digest("eve").iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&tokens, format!("{digest} eve viewer\n")).unwrap();
    let server = Server::start_in(data, &["--tokens", tokens.to_str().unwrap()]);
    let head =
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\nContent-Length: 4000000\r\n";
    for (token, status) in [("", "401"), ("Authorization: Bearer eve\r\n", "403")] {
        let answer = hear(&connect(&server, &format!("{head}{token}\r\n")));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_answers_as_many_requests_as_it_can_refuses_others() {
    let server = Server::start(&RATE);
    let head =
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/yaml\r\nContent-Length: 1\r\n\r\n";
    let mut held: Vec<TcpStream> = (0..REQUESTS_MAX).map(|_| connect(&server, head)).collect();
    let look = async || server.get("/v1/jobs").await;
    let refused = loop {
        let response = look().await;
        if response.status() != 200 {
            break response;
        }
        // It may have had the place of one of the others, which was refused then.
        if held.len() < REQUESTS_MAX + 100 {
            held.push(connect(&server, head));
        }
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(problem(refused, 503).await, "R0211");
    assert_eq!(server.get("/health/live").await.status(), 204);
    for stream in &mut held {
        // One that was refused may be closed.
        let _ = stream.write_all(b"x");
    }
    let answers: Vec<String> = held.iter().map(hear).collect();
    let is = |answer: &&String, status: &str| answer.starts_with(&format!("HTTP/1.1 {status}"));
    assert!(answers.iter().filter(|answer| is(answer, "422")).count() >= REQUESTS_MAX, "{answers:?}");
    // What was refused may not be heard on a connection that is closed.
    let refused = |answer: &String| answer.is_empty() || is(&answer, "503");
    assert!(answers.iter().all(|answer| is(&answer, "422") || refused(answer)), "{answers:?}");
    assert_eq!(look().await.status(), 200);
}

#[tokio::test]
async fn uploads_beyond_the_limit_are_refused_until_another_ends() {
    let server = Server::start(&RATE);
    let head =
        "POST /v1/plugins HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/wasm\r\nContent-Length: 9\r\n\r\n";
    let held: Vec<TcpStream> = (0..UPLOADS_MAX).map(|_| connect(&server, head)).collect();
    let begun = || fs::read_dir(server.path("registry/uploads")).unwrap().count();
    let deadline = Instant::now() + PATIENCE;
    while begun() < UPLOADS_MAX {
        assert!(Instant::now() < deadline, "{} have begun", begun());
        tokio::task::yield_now().await;
    }
    let push = async || {
        let request = server.request(Method::POST, "/v1/plugins").header("content-type", "application/wasm");
        request.body("no wasm").send().await.unwrap()
    };
    assert_eq!(problem(push().await, 503).await, "R0110");
    drop(held);
    assert_eq!(problem(first(push, |status| status != 503).await, 422).await, "P0202");
}
