//! A caller of a server's HTTP interface: JSON in and out, problems as errors. The only place that names reqwest. Guarantees: every request ends
//! within a time, every answer is bounded, and what creates something does so once though the connection breaks. Must not know what the paths mean.
mod error;
mod events;

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use reqwest::{
    Body, Certificate, Method, RequestBuilder, Response, Url,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use serde_json::Value;
use tokio_util::io::ReaderStream;
use uuid::{NoContext, Timestamp, Uuid};

use self::error::{chain, refused};
pub use self::{
    error::{ClientError, Problem},
    events::{EVENT_BYTES_MAX, Parser, ServerEvent, TooLong},
};
use crate::model::Clock;

/// The longest a connection takes.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// The longest a request that looks takes.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);

/// The longest a request that changes something takes: more than the server gives itself.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(11 * 60);

/// The longest a stream of events is silent: the server says something every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// How many times something is asked for that is done once however often it is asked for.
const ATTEMPTS: usize = 3;

/// The header that makes it so.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A server, and who asks it.
pub struct Client {
    url: Url,
    headers: HeaderMap,
    roots: Option<Vec<Certificate>>,
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// As it was sent; empty if there is nothing to say.
    pub text: String,
    /// The same, read; null if there is nothing to say.
    pub value: Value,
}

/// Names and values after the path.
type Query<'a> = [(&'a str, &'a str)];

/// Whether an address is of this machine, where no proxy is asked.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A client of `url`, with a limit on silence if there is one.
fn connection(
    url: &Url,
    headers: &HeaderMap,
    roots: Option<&[Certificate]>,
    silence: Option<Duration>,
) -> Result<reqwest::Client, ClientError> {
    // Fails if somebody has chosen one before, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIME_MAX)
        .default_headers(headers.clone())
        .redirect(Policy::none())
        .user_agent(concat!("wasmill/", env!("CARGO_PKG_VERSION")));
    if let Some(silence) = silence {
        builder = builder.read_timeout(silence);
    }
    if is_here(url) {
        builder = builder.no_proxy();
    }
    builder = match roots {
        Some(roots) => builder.tls_certs_only(roots.iter().cloned()),
        // Nothing is to be verified: machines without certificates can ask all the same.
        None if url.scheme() == "http" => builder.tls_certs_only([]),
        None => builder,
    };
    builder.build().map_err(|error| ClientError::Unusable(chain(&error)))
}

impl Client {
    /// A client of the server at `url`, which may have a path. Certificates are verified against those in `roots`, PEM, or those of the system.
    pub fn new(
        url: &str,
        token: Option<&str>,
        roots: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Client, ClientError> {
        let unusable = |what: String| ClientError::Unusable(what);
        let parsed =
            Url::parse(url).map_err(|error| unusable(format!("`{url}` is no address of a server: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.cannot_be_a_base() {
            return Err(unusable(format!("`{url}` is no address of a server: it begins with http:// or https://")));
        }
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut value = value.map_err(|_| unusable("the token has characters that no token has".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let roots = roots.map(|pem| match Certificate::from_pem_bundle(pem) {
            Ok(roots) if !roots.is_empty() => Ok(roots),
            Ok(_) => Err(unusable("there is no certificate in what is given as one".into())),
            Err(error) => Err(unusable(format!("the certificate cannot be read: {}", chain(&error)))),
        });
        let roots = roots.transpose()?;
        let http = connection(&parsed, &headers, roots.as_deref(), None)?;
        Ok(Client { url: parsed, headers, roots, http, clock })
    }

    /// The server's address.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Looks at something. The parts of a path are names, put into it as they are.
    pub async fn get(&self, path: &[&str], query: &Query<'_>) -> Result<Answer, ClientError> {
        let request = self.http.get(self.at(path)?).query(query).timeout(LOOK_TIME_MAX);
        self.answer(self.send(request).await?).await
    }

    /// All items of a list, page by page. If it has one page, the answer is that page.
    pub async fn list(&self, path: &[&str], query: &Query<'_>) -> Result<Answer, ClientError> {
        const PAGE: (&str, &str) = ("limit", "500");
        let mut items: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let part: Vec<(&str, &str)> = query.iter().copied().chain([PAGE]).collect();
            let part = part.into_iter().chain(cursor.as_deref().map(|cursor| ("cursor", cursor))).collect::<Vec<_>>();
            let mut page = self.get(path, &part).await?;
            let next = page.value["next"].as_str().map(str::to_owned);
            if next.is_none() && items.is_empty() {
                return Ok(page);
            }
            match page.value["items"].take() {
                Value::Array(some) if next != cursor => items.extend(some),
                _ => return Err(self.strange("a list without items, or without end")),
            }
            if next.is_none() {
                let value = serde_json::json!({ "items": items, "next": null });
                return Ok(Answer { text: value.to_string(), value });
            }
            cursor = next;
        }
    }

    /// Asks for something to be done.
    pub async fn ask(
        &self,
        method: Change,
        path: &[&str],
        query: &Query<'_>,
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let request = self.http.request(method.into(), self.at(path)?).query(query).timeout(CHANGE_TIME_MAX);
        let request = body.into_iter().fold(request, RequestBuilder::json);
        self.answer(self.send(request).await?).await
    }

    /// Creates something, once.
    pub async fn create(&self, path: &[&str], body: &Value) -> Result<Answer, ClientError> {
        let (url, key) = (self.at(path)?, self.key());
        let request = async || Ok(self.http.post(url.clone()).json(body).header(IDEMPOTENCY_KEY, &key));
        self.answer(self.insist(request).await?).await
    }

    /// Creates something out of a file, once. The file is sent as it is read; `headers` go with it.
    pub async fn upload(
        &self,
        path: &[&str],
        file: &Path,
        media_type: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ClientError> {
        let (url, key) = (self.at(path)?, self.key());
        let failed = |error| ClientError::File { path: file.to_owned(), error };
        let request = async || {
            let open = tokio::fs::File::open(file).await.map_err(failed)?;
            let bytes = open.metadata().await.map_err(failed)?.len();
            let request = self.http.post(url.clone()).header(IDEMPOTENCY_KEY, &key).header(CONTENT_TYPE, media_type);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
            // So that what is too large is refused before it is sent.
            Ok(request.header(CONTENT_LENGTH, bytes).body(Body::wrap_stream(ReaderStream::new(open))))
        };
        self.answer(self.insist(request).await?).await
    }

    /// A stream of events; with those that came after the one with the number `last`, if it is still known.
    pub async fn watch(&self, path: &[&str], query: &Query<'_>, last: Option<&str>) -> Result<Events, ClientError> {
        let http = connection(&self.url, &self.headers, self.roots.as_deref(), Some(SILENCE_MAX))?;
        let request = http.get(self.at(path)?).query(query);
        let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
        let response = self.send(request).await?;
        if !response.status().is_success() {
            self.answer(response).await?;
            return Err(self.strange("no events"));
        }
        Ok(Events { response, parser: Parser::default(), url: self.url.to_string() })
    }

    /// The address of a path. Fails for names that a path cannot have.
    fn at(&self, path: &[&str]) -> Result<Url, ClientError> {
        if let Some(name) = path.iter().find(|name| matches!(**name, "" | "." | "..")) {
            return Err(ClientError::Unusable(format!("`{name}` is no name")));
        }
        let mut url = self.url.clone();
        // Checked when the client was made: it can be a base.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    fn key(&self) -> String {
        let now_ms = u64::try_from(self.clock.now_ms()).unwrap_or_default();
        let nanoseconds = u32::try_from(now_ms % 1000).unwrap_or_default() * 1_000_000;
        Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1000, nanoseconds)).to_string()
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        request.send().await.map_err(|error| self.unreachable(error))
    }

    /// Asks again if the connection breaks before the answer: the key in the request has it done once.
    async fn insist(
        &self,
        request: impl AsyncFn() -> Result<RequestBuilder, ClientError>,
    ) -> Result<Response, ClientError> {
        let mut attempt = 1;
        loop {
            match request().await?.timeout(CHANGE_TIME_MAX).send().await {
                Ok(response) => return Ok(response),
                Err(error) if attempt == ATTEMPTS || error.is_connect() || error.is_timeout() || error.is_builder() => {
                    return Err(self.unreachable(error));
                }
                Err(_) => attempt += 1,
            }
        }
    }

    async fn answer(&self, mut response: Response) -> Result<Answer, ClientError> {
        let (status, headers) = (response.status(), response.headers());
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.strange(format!("more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(body).map_err(|error| self.strange(error))?;
        if !status.is_success() {
            return Err(refused(self.url.as_str(), status.as_u16(), retry_after, &text));
        }
        let value = match text.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&text).map_err(|error| self.strange(error))?,
        };
        Ok(Answer { text, value })
    }

    fn unreachable(&self, error: reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.url.to_string(), what: chain(&error.without_url()) }
    }

    fn strange(&self, what: impl ToString) -> ClientError {
        ClientError::Answer { url: self.url.to_string(), what: what.to_string() }
    }
}

/// How something is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// By a request of its own.
    Post,
    /// It is changed in part.
    Patch,
    /// It is removed.
    Delete,
}

impl From<Change> for Method {
    fn from(change: Change) -> Method {
        match change {
            Change::Post => Method::POST,
            Change::Patch => Method::PATCH,
            Change::Delete => Method::DELETE,
        }
    }
}

/// Events as they come.
pub struct Events {
    response: Response,
    parser: Parser,
    url: String,
}

impl Events {
    /// Those that came next, one or more; none when the server has ended the stream, or the connection has broken.
    pub async fn next(&mut self) -> Result<Option<Vec<ServerEvent>>, ClientError> {
        loop {
            let Ok(Some(chunk)) = self.response.chunk().await else { return Ok(None) };
            let events = self.parser.feed(&chunk).map_err(|TooLong| ClientError::Answer {
                url: self.url.clone(),
                what: format!("an event of more than {EVENT_BYTES_MAX} bytes"),
            })?;
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemClock;

    fn client(url: &str, token: Option<&str>) -> Result<Client, ClientError> {
        Client::new(url, token, None, Arc::new(SystemClock::new()))
    }

    #[test]
    fn names_are_put_into_the_path_as_they_are() {
        let at = |url, path: &[&str]| client(url, None).and_then(|client| client.at(path)).map(|url| url.to_string());
        assert_eq!(at("http://h:1", &["v1", "a/b?c"]).unwrap(), "http://h:1/v1/a%2Fb%3Fc");
        assert_eq!(at("http://h:1/below/", &["v1"]).unwrap(), "http://h:1/below/v1");
        for path in ["..", ".", ""] {
            assert!(matches!(at("http://h:1", &["v1", path]), Err(ClientError::Unusable(_))), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_before() {
        for (url, token) in [("localhost:8080", None), ("ftp://h", None), ("", None), ("http://h", Some("a\nb"))] {
            assert!(matches!(client(url, token), Err(ClientError::Unusable(_))), "{url}");
        }
        assert!(is_here(&Url::parse("http://[::1]:1").unwrap()) && !is_here(&Url::parse("http://10.0.0.1").unwrap()));
    }

    #[tokio::test]
    async fn a_creation_is_asked_for_again_with_its_key_when_the_connection_breaks() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        let server = tokio::spawn(async move {
            let mut keys = Vec::new();
            for answer in ["", "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 64 << 10];
                let mut read = 0;
                while !request[..read].ends_with(b"\r\n\r\n{}") {
                    read += stream.read(&mut request[read..]).await.unwrap();
                }
                let text = String::from_utf8_lossy(&request[..read]).to_lowercase();
                keys.extend(text.lines().find_map(|line| line.strip_prefix("idempotency-key: ").map(str::to_owned)));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            keys
        });
        client.create(&["v1", "jobs"], &serde_json::json!({})).await.unwrap();
        let keys = server.await.unwrap();
        assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    }
}
