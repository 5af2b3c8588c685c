//! `/v1/plugins`: uploading, looking at, downloading and deleting plugins.
use aide::{
    axum::{
        ApiRouter,
        routing::{get_with, post_with},
    },
    transform::TransformOperation,
};
use axum::{
    Json,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use semver::Version;
use serde::{Deserialize, Serialize};
use tokio_util::io::ReaderStream;

use super::{
    Admin, AppState, Operator, Page, Problem, Viewer,
    changes::once,
    conditional::{IfMatch, etag, not_modified, tagged},
    describe, idempotency,
    limits::{self, TimeLimit, UPLOAD_TIME_MAX},
    page, receive,
};
use crate::{
    audit::Event,
    registry::{Pushed, Record, RegistryError, Upload},
};

/// The header with the signature.
const SIGNATURE: &str = "wasmill-signature";

/// The uploads, which take their time and have a limit of size of their own.
pub(super) fn uploads(state: &AppState) -> ApiRouter<AppState> {
    let limit = TimeLimit { clock: state.clock.clone(), time: UPLOAD_TIME_MAX };
    ApiRouter::new()
        .api_route("/v1/plugins", post_with(push, describe_push))
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(limit, limits::time))
}

/// Everything else.
pub(super) fn routes() -> ApiRouter<AppState> {
    const VERSION: &str = "/v1/plugins/{name}/{version}";
    ApiRouter::new()
        .api_route("/v1/plugins", get_with(list, describe_list))
        .api_route("/v1/plugins/{name}", get_with(versions, describe_versions))
        .api_route(VERSION, get_with(look, describe_look).delete_with(delete, describe_delete))
        .api_route("/v1/plugins/{name}/{version}/component", get_with(download, describe_download))
}

/// What an upload has become.
#[derive(Serialize, JsonSchema)]
struct Uploaded {
    /// Whether it was not there before.
    created: bool,
    /// The plugin.
    plugin: Record,
}

/// Which part of the list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// `next` of the page before; without it the list begins.
    cursor: Option<String>,
    /// Plugins on the page, from 1 to 500. Default 50.
    limit: Option<u32>,
    /// Only versions of the plugin with this name.
    name: Option<String>,
}

/// A plugin.
#[derive(Deserialize, JsonSchema)]
struct Named {
    /// Its name.
    name: String,
}

/// A version of a plugin.
#[derive(Deserialize, JsonSchema)]
struct Versioned {
    /// Its name.
    name: String,
    /// A semantic version.
    version: String,
}

fn describe_push(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation
        .id("pushPlugin")
        .tag("plugins")
        .summary("Upload a plugin")
        .description("Its name and version are those it gives itself. A version never changes: the same file again is answered by 200, another by 409.")
        .response_with::<201, Json<Uploaded>, _>(|response| response.description("It was not there before."))
        .response_with::<200, Json<Uploaded>, _>(|response| response.description("It was there already."));
    let operation = describe::header::<String>(
        operation,
        SIGNATURE,
        "base64 of the ed25519 signature of the 32 bytes of the file's SHA-256",
    );
    describe::fails(
        describe::upload_body(operation),
        &[
            (400, "The body or the form cannot be read."),
            (403, "The token is of a role below operator, or the plugin is not signed by a trusted key."),
            (409, "The version is there with other content."),
            (413, "The file is too large."),
            (415, "The body is of another media type."),
            (422, "The file is no plugin, or one that misbehaves; or the idempotency key belongs to another request."),
            (507, "There are too many plugins."),
        ],
    )
}

async fn push(
    State(state): State<AppState>,
    Operator(caller): Operator,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let signature = headers.get(SIGNATURE).map(|value| value.to_str().unwrap_or_default().to_owned());
    let upload = receive::plugin(&state.registry, request).await?;
    let digest = upload.digest();
    let fingerprint = idempotency::fingerprint("plugin.push", &digest);
    let (asked, who) = (state.clone(), caller.name.clone());
    let answer = async move {
        let kept = keep(&asked, upload, signature.as_deref(), &who, digest).await;
        kept.map_or_else(Problem::into_response, uploaded)
    };
    Ok(once(&state, &caller, &headers, (&fingerprint, "POST /v1/plugins".to_owned()), answer).await)
}

fn uploaded(Pushed { record, created }: Pushed) -> Response {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let headers = [
        (header::LOCATION, format!("/v1/plugins/{}/{}", record.name, record.version)),
        (header::ETAG, format!("\"{}\"", record.digest)),
    ];
    (status, headers, Json(Uploaded { created, plugin: record })).into_response()
}

/// Keeps an upload, and notes who has uploaded it, also if it was refused.
async fn keep(
    state: &AppState,
    upload: Upload,
    signature: Option<&str>,
    who: &str,
    digest: String,
) -> Result<Pushed, Problem> {
    let result = state.registry.push(upload, signature, who).await;
    let (subject, outcome) = match &result {
        Ok(Pushed { created: false, .. }) => return Ok(result?),
        Ok(pushed) => (pushed.record.to_string(), "done".to_owned()),
        Err(error) => ("an upload".to_owned(), error.to_string()),
    };
    let to = result.is_ok().then(|| format!("sha256:{digest}"));
    let (who, action) = (who.to_owned(), "plugin.push".to_owned());
    state.note(Event { who, action, subject, from: None, to, digest: Some(digest), outcome }).await?;
    Ok(result?)
}

fn describe_list(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("listPlugins").tag("plugins").summary("Plugins, by name and version");
    describe::fails(operation, &[(400, "The cursor or limit makes no sense.")])
}

async fn list(State(state): State<AppState>, _: Viewer, Query(part): Query<Part>) -> Result<Page<Record>, Problem> {
    let Part { cursor, limit, name } = part;
    records(&state, name.as_deref(), page::Part { cursor, limit })
}

/// Plugins of all names, or of one.
fn records(state: &AppState, name: Option<&str>, part: page::Part) -> Result<Page<Record>, Problem> {
    let limit = page::limit(part.limit)?;
    let place = part.cursor.as_deref().map(page::place).transpose()?;
    let after = match &place {
        Some(place) => {
            let (name, version) = place.split_once('@').ok_or_else(page::bad_cursor)?;
            Some((name, Version::parse(version).map_err(|_| page::bad_cursor())?))
        }
        None => None,
    };
    let after = after.as_ref().map(|(name, version)| (*name, version));
    Ok(Page::new(state.registry.list(name, after, limit + 1), limit, Record::to_string))
}

fn describe_versions(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("listVersions").tag("plugins").summary("All versions of a plugin, in order");
    describe::fails(
        operation,
        &[(400, "The cursor or limit makes no sense."), (404, "There is no plugin of this name.")],
    )
}

async fn versions(
    State(state): State<AppState>,
    _: Viewer,
    Path(Named { name }): Path<Named>,
    Query(part): Query<page::Part>,
) -> Result<Page<Record>, Problem> {
    let begins = part.cursor.is_none();
    let page = records(&state, Some(&name), part)?;
    if begins && page.items.is_empty() {
        return Err(RegistryError::Unknown(name).into());
    }
    Ok(page)
}

fn describe_look(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("getPlugin").tag("plugins").summary("A version of a plugin");
    let operation = describe::tagged::<Record>(operation, "What is known of it; `ETag` is its digest.");
    describe::fails(operation, &[(404, "There is no such plugin.")])
}

async fn look(
    State(state): State<AppState>,
    _: Viewer,
    headers: HeaderMap,
    Path(Versioned { name, version }): Path<Versioned>,
) -> Result<Response, Problem> {
    let record = state.registry.get(&name, &version)?;
    Ok(tagged(&headers, &record.digest.clone(), record))
}

fn describe_download(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("downloadPlugin").tag("plugins").summary("The file of a plugin, as it was uploaded");
    let operation = describe::bytes(operation, "application/wasm", "The file.");
    let operation = describe::header::<String>(operation, "if-none-match", "The `ETag` the caller has");
    let operation = describe::empty(operation, 304, "It is what the caller has.");
    describe::fails(operation, &[(404, "There is no such plugin.")])
}

async fn download(
    State(state): State<AppState>,
    _: Viewer,
    headers: HeaderMap,
    Path(Versioned { name, version }): Path<Versioned>,
) -> Result<Response, Problem> {
    let record = state.registry.get(&name, &version)?;
    let tag = (header::ETAG, etag(&record.digest));
    if not_modified(&headers, &record.digest) {
        return Ok((StatusCode::NOT_MODIFIED, [tag]).into_response());
    }
    let path = state.registry.blob(&record.digest);
    let file = tokio::fs::File::open(&path).await.map_err(|error| RegistryError::Io { path, error })?;
    let headers = [
        tag,
        (header::CONTENT_TYPE, header::HeaderValue::from_static("application/wasm")),
        (header::CONTENT_LENGTH, record.size.into()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

fn describe_delete(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    let operation = operation.id("deletePlugin").tag("plugins").summary("Delete a version of a plugin");
    let operation = describe::empty(operation, 204, "It is gone.");
    describe::fails(operation, &[(404, "There is no such plugin."), (409, "A job or a checkpoint needs it.")])
}

async fn delete(
    State(state): State<AppState>,
    Admin(caller): Admin,
    conditions: IfMatch,
    Path(Versioned { name, version }): Path<Versioned>,
) -> Result<Response, Problem> {
    if let Ok(record) = state.registry.get(&name, &version) {
        conditions.check(&record.digest)?;
    }
    let (registry, in_use) = (state.registry.clone(), state.in_use.clone());
    let subject = format!("{name}@{version}");
    let deleted = tokio::task::spawn_blocking(move || registry.delete(&name, &version, &*in_use)).await;
    let deleted = deleted.map_err(Problem::internal)?;
    let (digest, outcome) = match &deleted {
        Ok(record) => (Some(record.digest.clone()), "done".to_owned()),
        Err(error) => (None, error.to_string()),
    };
    let from = digest.as_ref().map(|digest| format!("sha256:{digest}"));
    state
        .note(Event { who: caller.name, action: "plugin.delete".into(), subject, from, to: None, digest, outcome })
        .await?;
    deleted?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
