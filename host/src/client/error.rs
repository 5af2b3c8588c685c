//! Why a request to a server fails: before it is sent, on the way, or because the server says no. Guarantees: the server's problems are shown with
//! their codes and what can be done. Must not know commands.
use std::{error::Error, fmt, io, path::PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// Bytes shown of an answer that makes no sense.
const SHOWN_BYTES_MAX: usize = 200;

/// What a server says is wrong (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The same for all problems of a status and code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with the request.
    pub detail: String,
    /// Stable, such as `R0106`.
    pub code: String,
    /// Seconds after which the server may be asked again, if it says so.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// Whether it is the request that is wrong, so that the same request fails again: a status of 4xx.
    pub fn is_refusal(&self) -> bool {
        (400..500).contains(&self.status)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a job file has wrong comes with its code and place.
        let shown = format!("error[{}]", self.code);
        if self.detail.starts_with(&shown) {
            write!(f, "{}", self.detail.trim_end())?;
        } else {
            write!(f, "[{}] {}: {}", self.code, self.title, self.detail.trim_end())?;
        }
        match (self.status, self.retry_after) {
            (401, _) => write!(f, "\n  give a token: WASMILL_TOKEN, or --token-file")?,
            (429 | 503, Some(seconds)) => write!(f, "\n  ask again in {seconds} s")?,
            _ => {}
        }
        write!(f, "\n  docs/errors/{}.md says what to do", self.code)
    }
}

/// Why a request fails.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server's address, the token or a name cannot be used in a request.
    #[error("[K0101] {0}")]
    Unusable(String),
    /// Nobody answers there, or not in time.
    #[error("[K0102] {url} does not answer: {what}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What has happened.
        what: String,
    },
    /// What answers is no wasmill server, or of another version.
    #[error("[K0103] {url} answers with what no wasmill server says: {what}")]
    Answer {
        /// The server's address.
        url: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A file of this machine cannot be used.
    #[error("[K0104] {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The server says no, or has failed.
    #[error("{0}")]
    Problem(Problem),
}

/// An error with what has caused it.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The error of an answer that is no success.
pub(super) fn refused(url: &str, status: u16, retry_after: Option<u64>, body: &str) -> ClientError {
    match serde_json::from_str::<Problem>(body) {
        Ok(problem) => ClientError::Problem(Problem { status, retry_after, ..problem }),
        Err(_) => {
            let body: String = body.chars().take(SHOWN_BYTES_MAX).collect();
            ClientError::Answer { url: url.to_owned(), what: format!("status {status}: {body}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_is_wrong_and_what_to_do() {
        let text = |status, retry, body| refused("http://x", status, retry, body).to_string();
        let missing = r#"{"type": "/errors/R0106", "title": "No such plugin", "status": 404, "detail": "none", "code": "R0106", "instance": "/"}"#;
        assert_eq!(text(404, None, missing), "[R0106] No such plugin: none\n  docs/errors/R0106.md says what to do");
        let job = r#"{"title": "Job refused", "status": 422, "detail": "error[J0104]: x\n", "code": "J0104"}"#;
        assert_eq!(text(422, None, job), "error[J0104]: x\n  docs/errors/J0104.md says what to do");
        assert!(text(503, Some(2), missing).contains("\n  ask again in 2 s\n"));
        assert!(text(401, None, missing).contains("WASMILL_TOKEN"));
        assert!(text(502, None, "<html>").starts_with("[K0103] http://x answers"));
    }
}
