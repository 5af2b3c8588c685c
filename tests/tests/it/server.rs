//! `wasmill serve` as a process, with a folder of its own, and what a caller of it needs. Guarantees: a server does not outlive its test.
//! Must not know what is tested.
use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Once,
    time::Duration,
};

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;

/// A running server.
pub struct Server {
    child: Child,
    url: String,
    client: Client,
    token: Option<String>,
    data: TempDir,
}

/// Who asks servers.
pub fn client() -> Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    // Less than servers keep idle connections, which a test that is busy with something else does not hear of.
    Client::builder().pool_idle_timeout(Duration::from_secs(10)).build().unwrap()
}

/// `wasmill serve` with these arguments, on a port that is free; without tokens, unless they say which.
pub fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill-for-tests"));
    command.args(["serve", "--address", "127.0.0.1:0", "--data"]).arg(data).args(arguments);
    if !arguments.contains(&"--tokens") {
        command.arg("--no-auth");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

impl Server {
    /// Starts one, and waits until it answers.
    pub fn start(arguments: &[&str]) -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    /// The same with data of an earlier one.
    pub fn start_in(data: TempDir, arguments: &[&str]) -> Server {
        // Some have something in it already.
        fs::set_permissions(data.path(), Permissions::from_mode(0o700)).unwrap();
        let mut child = command(data.path(), arguments).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it says `{line}`")).to_owned();
        Server { child, url, client: client(), token: None, data }
    }

    /// From now on, whose requests they are.
    pub fn become_caller(&mut self, token: Option<&str>) {
        self.token = token.map(str::to_owned);
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// What is there, as JSON.
    pub async fn json(&self, path: &str) -> Value {
        json(self.get(path).await, 200).await
    }

    /// The state of a job. Fails if it has ended: no wait for what it does would.
    pub async fn state(&self, job: &str) -> String {
        let job = self.json(&format!("/v1/jobs/{job}")).await;
        let state = job["state"].as_str().unwrap();
        assert!(!["finished", "stopped", "cancelled", "failed"].contains(&state), "{job}");
        state.to_owned()
    }

    /// Waits until a job runs.
    pub async fn runs(&self, job: &str) {
        while self.state(job).await != "running" {}
    }

    /// A count of a node of a job since the server started it; 0 before there is one.
    pub async fn count(&self, job: &str, node: &str, count: &str) -> u64 {
        self.state(job).await;
        let graph = self.json(&format!("/v1/jobs/{job}/graph")).await;
        let node = graph["nodes"].as_array().unwrap().iter().find(|it| it["name"] == node);
        node.map_or(0, |node| node[count].as_u64().unwrap())
    }

    /// The most memory it has had so far, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.unwrap_or_else(|| panic!("{status}")).parse::<u64>().unwrap() << 10
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Tells it to stop in order; how it ended, and its data.
    pub fn stop(mut self) -> (ExitStatus, TempDir) {
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        (status, std::mem::replace(&mut self.data, tempfile::tempdir().unwrap()))
    }

    /// Kills it; its data.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.data, tempfile::tempdir().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of an answer that has this status.
pub async fn json(response: Response, status: u16) -> Value {
    let (found, text) = (response.status().as_u16(), response.text().await.unwrap());
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The code of a problem of this status, which must be whole.
pub async fn problem(response: Response, status: u16) -> String {
    let path = response.url().path().to_owned();
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let problem = json(response, status).await;
    assert_eq!(media_type, "application/problem+json", "{problem}");
    let code = problem["code"].as_str().unwrap().to_owned();
    assert_eq!(problem["type"], format!("/errors/{code}"));
    assert_eq!((&problem["status"], &problem["instance"]), (&status.into(), &path.into()));
    for field in ["title", "detail"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    code
}
