//! Answers on disk: a file each. Guarantees that an answer is there again at the next start once it was written, and that what was not
//! written whole is none. Must not know when an answer is given again, nor for how long.
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::WebError;

/// Of whom, and which of the caller's: what an answer is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) caller: String,
    pub(super) key: String,
}

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, self.headers, self.body).into_response()
    }
}

/// An answer, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) key: Key,
    /// Of the request.
    pub(super) fingerprint: String,
    /// When it was asked for, in ms since 1970-01-01 UTC.
    pub(super) since_ms: i64,
    pub(super) answer: Answer,
}

/// As it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(flatten)]
    key: Key,
    fingerprint: String,
    since_ms: i64,
    status: u16,
    headers: Vec<(String, String)>,
    /// In base64.
    body: String,
}

impl From<&Answered> for Written {
    fn from(answered: &Answered) -> Written {
        let Answered { key, fingerprint, since_ms, answer: Answer { status, headers, body } } = answered;
        // Those that are given here are text.
        let text =
            |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
        Written {
            key: key.clone(),
            fingerprint: fingerprint.clone(),
            since_ms: *since_ms,
            status: status.as_u16(),
            headers: headers.iter().filter_map(text).collect(),
            body: BASE64_STANDARD.encode(body),
        }
    }
}

impl Written {
    fn read(self) -> Option<Answered> {
        let Written { key, fingerprint, since_ms, status, headers, body } = self;
        let header = |(name, value): (String, String)| {
            Some((HeaderName::from_str(&name).ok()?, HeaderValue::from_str(&value).ok()?))
        };
        let answer = Answer {
            status: StatusCode::from_u16(status).ok()?,
            headers: headers.into_iter().map(header).collect::<Option<_>>()?,
            body: BASE64_STANDARD.decode(body).ok()?.into(),
        };
        Some(Answered { key, fingerprint, since_ms, answer })
    }
}

/// Where answers are kept.
pub(super) struct Answers(PathBuf);

impl Answers {
    /// Opens a folder, or makes it: the answers that are there, oldest first.
    pub(super) fn open(folder: &Path) -> Result<(Answers, Vec<Answered>), WebError> {
        let failed = |error: io::Error| WebError::File { path: folder.to_owned(), what: error.to_string() };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let written = serde_json::from_slice::<Written>(&fs::read(&path).map_err(failed)?);
            match written.ok().and_then(Written::read) {
                Some(answered) => found.push(answered),
                // Nobody was given it, for it was not written whole.
                None => fs::remove_file(&path).map_err(failed)?,
            }
        }
        found.sort_by_key(|answered| answered.since_ms);
        Ok((Answers(folder.to_owned()), found))
    }

    fn path(&self, Key { caller, key }: &Key) -> PathBuf {
        let parts = [caller, key].map(|part| Sha256::digest(part).to_vec()).concat();
        self.0.join(format!("{:x}.json", Sha256::digest(parts)))
    }

    /// Durable once it returns.
    pub(super) fn write(&self, answered: &Answered) -> io::Result<()> {
        let mut file = File::create(self.path(&answered.key))?;
        file.write_all(&serde_json::to_vec(&Written::from(answered))?)?;
        file.sync_all()?;
        File::open(&self.0)?.sync_all()
    }

    /// Removes an answer, if it is there.
    pub(super) fn remove(&self, key: &Key) {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot be removed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(caller: &str, key: &str, since_ms: i64) -> Answered {
        let headers = HeaderMap::from_iter([(HeaderName::from_static("etag"), HeaderValue::from_static("\"a\""))]);
        let answer = Answer { status: StatusCode::CREATED, headers, body: Bytes::from_static(b"\xff{}") };
        let key = Key { caller: caller.into(), key: key.into() };
        Answered { key, fingerprint: "f".into(), since_ms, answer }
    }

    #[test]
    fn what_was_written_whole_is_there_again_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Answers::open(&folder.path().join("answers")).unwrap();
        let (answers, none) = open();
        assert_eq!(none, []);
        let all = [answered("ann", "k", 7), answered("an", "nk", 8), answered("bob", "k", 9)];
        all.iter().rev().for_each(|answered| answers.write(answered).unwrap());
        assert_eq!(open().1, all);
        let whole = fs::read(answers.path(&all[0].key)).unwrap();
        fs::write(answers.path(&all[0].key), &whole[..whole.len() - 1]).unwrap();
        assert_eq!(open().1, all[1..]);
        assert!(!answers.path(&all[0].key).exists());
        for _ in 0..2 {
            answers.remove(&all[1].key);
        }
        assert_eq!(open().1, all[2..]);
    }
}
