//! Asks a schema registry over HTTP, by the interface of Confluent's, which others have too. Guarantees: every request ends within a time and
//! is made again for a bounded time, answers are bounded, passwords go nowhere else. Must not know what schemas say, nor what they are for.
mod answer;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashSet, VecDeque},
    error::Error,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::{Certificate, Client, Url, header::ACCEPT, redirect::Policy};
use tokio::sync::OnceCell;

use self::answer::{Answer, Document, Failure, Reference};
use crate::{
    codec::{
        Lookup, PrepareError, ReferencedSchema, RegisteredSchema, RegistrySettings, SCHEMA_BYTES_MAX,
        SCHEMA_REFERENCES_MAX, SchemaKind, SchemaSource, registry_failed,
    },
    model::Clock,
};

/// The longest a connection takes.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// The longest a request takes.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a request is made again before the registry is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pause before the second request, which doubles with each further one, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer: a schema, whose quotes and line ends take two there.
const ANSWER_BYTES_MAX: usize = 4 * SCHEMA_BYTES_MAX;

const MEDIA_TYPES: &str = "application/vnd.schemaregistry.v1+json, application/json;q=0.9";

/// A schema registry.
pub struct SchemaRegistry {
    settings: RegistrySettings,
    clock: Arc<dyn Clock>,
    /// Made when it is first needed.
    connection: OnceCell<(Client, Url)>,
}

impl SchemaRegistry {
    /// A registry that is not asked yet.
    pub fn new(settings: &RegistrySettings, clock: Arc<dyn Clock>) -> SchemaRegistry {
        SchemaRegistry { settings: settings.clone(), clock, connection: OnceCell::new() }
    }

    fn failed(&self, what: impl Into<String>, retry: bool) -> PrepareError {
        registry_failed(&self.settings.url, what, retry)
    }

    async fn connect(&self) -> Result<(Client, Url), PrepareError> {
        let url = Url::parse(&self.settings.url).map_err(|error| self.failed(format!("no URL: {error}"), false))?;
        let roots = match &self.settings.ca {
            None => None,
            Some(path) => {
                let unusable = |what: String| registry_failed(path.display().to_string(), what, false);
                let pem = tokio::fs::read(path).await.map_err(|error| unusable(error.to_string()))?;
                Some(Certificate::from_pem_bundle(&pem).map_err(|error| unusable(chain(&error)))?)
            }
        };
        // Fails if somebody has chosen one before, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(REQUEST_TIME_MAX)
            .redirect(Policy::none())
            .user_agent(concat!("wasmill/", env!("CARGO_PKG_VERSION")));
        if is_here(&url) {
            builder = builder.no_proxy();
        }
        builder = match roots {
            Some(roots) => builder.tls_certs_only(roots),
            // Nothing is to be verified: machines without certificates can ask all the same.
            None if url.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        let client = builder.build().map_err(|error| self.failed(chain(&error), false))?;
        Ok((client, url))
    }

    /// Asks, again and again if that may help.
    async fn ask(&self, path: &[&str]) -> Result<Answer, PrepareError> {
        let (client, url) = self.connection.get_or_try_init(|| self.connect()).await?;
        let mut url = url.clone();
        // It begins with http:// or https://, and so can be a base.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let until = self.clock.monotonic() + PATIENCE;
        let pauses = ExponentialBuilder::default().with_min_delay(PAUSE_MIN).with_max_delay(PAUSE_MAX);
        let mut pauses = pauses.without_max_times().with_jitter().build();
        let mut warned = false;
        loop {
            let Failure { what, retry } = match self.attempt(client, &url).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let next = self.clock.monotonic() + pauses.next().unwrap_or(PAUSE_MAX);
            if !retry || next > until {
                return Err(self.failed(what, retry));
            }
            if !std::mem::replace(&mut warned, true) {
                let registry = &self.settings.url;
                tracing::warn!(message = "the schema registry does not answer, asking again", registry, error = what);
            }
            self.clock.sleep_until(next).await;
        }
    }

    async fn attempt(&self, client: &Client, url: &Url) -> Result<Answer, Failure> {
        let failed = |error: reqwest::Error| Failure { what: chain(&error.without_url()), retry: true };
        let mut request = client.get(url.clone()).header(ACCEPT, MEDIA_TYPES);
        if let Some((username, password)) = &self.settings.login {
            request = request.basic_auth(username, Some(password.reveal()));
        }
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Ok(Answer::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        answer::read(response.status().as_u16(), &body)
    }

    /// All that a schema refers to, directly or not; or why that is of no use.
    async fn references(&self, schema: &Document) -> Result<Result<Vec<ReferencedSchema>, String>, PrepareError> {
        let mut found: Vec<ReferencedSchema> = Vec::new();
        let mut bytes = schema.text.len();
        let mut seen = HashSet::new();
        let mut wanted: VecDeque<Reference> = schema.references.clone().into();
        while let Some(Reference { name, subject, version }) = wanted.pop_front() {
            if !seen.insert((subject.clone(), version)) {
                continue;
            }
            if seen.len() > SCHEMA_REFERENCES_MAX {
                return Ok(Err(format!("it refers to more than {SCHEMA_REFERENCES_MAX} others")));
            }
            if matches!(&*subject, "" | "." | "..") {
                return Ok(Err(format!("it refers to {subject:?}, which is no subject")));
            }
            let referenced = match self.ask(&["subjects", &subject, "versions", &version.to_string()]).await? {
                Answer::Found(document) => document,
                Answer::Unknown => {
                    return Ok(Err(format!(
                        "it refers to version {version} of `{subject}`, which the registry does not have"
                    )));
                }
                Answer::TooLong => return Ok(Err(too_long())),
            };
            bytes += referenced.text.len();
            if bytes > SCHEMA_BYTES_MAX {
                return Ok(Err(too_long()));
            }
            wanted.extend(referenced.references);
            if !found.iter().any(|other| other.name == name) {
                found.push(ReferencedSchema { name, text: referenced.text });
            }
        }
        Ok(Ok(found))
    }
}

#[async_trait]
impl SchemaSource for SchemaRegistry {
    async fn schema(&self, id: u32) -> Result<Lookup, PrepareError> {
        // Registries count from 1, with sign.
        if id == 0 || i32::try_from(id).is_err() {
            return Ok(Lookup::Unknown);
        }
        let document = match self.ask(&["schemas", "ids", &id.to_string()]).await? {
            Answer::Found(document) if document.text.len() <= SCHEMA_BYTES_MAX => document,
            Answer::Found(_) | Answer::TooLong => return Ok(Lookup::Unreadable(too_long())),
            Answer::Unknown => return Ok(Lookup::Unknown),
        };
        let Some(kind) = SchemaKind::named(&document.kind) else {
            return Ok(Lookup::Unreadable(format!("its type is `{}`", document.kind)));
        };
        Ok(match self.references(&document).await? {
            Ok(references) => Lookup::Found(RegisteredSchema { kind, text: document.text, references }),
            Err(why) => Lookup::Unreadable(why),
        })
    }
}

fn too_long() -> String {
    format!("with all it refers to it has more than {SCHEMA_BYTES_MAX} bytes")
}

/// Whether an address is of this machine, where no proxy is asked.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// An error with what has caused it.
fn chain(error: &dyn Error) -> String {
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
