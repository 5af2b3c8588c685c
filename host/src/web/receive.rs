//! The body of an upload: a file as it is, or a field of a form. Written away as it comes.
use axum::{
    body::BodyDataStream,
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, StatusCode, header},
};
use futures::StreamExt;

use super::Problem;
use crate::registry::{Registry, RegistryError, Upload};

/// The form's field.
const FIELD: &str = "file";

/// Bytes that are still read of what is too large, so that the caller hears why before the connection is closed.
const DRAIN_BYTES_MAX: u64 = 16 << 20;

/// Bytes a form may have beyond the file.
const FORM_BYTES_MAX: u64 = 64 << 10;

/// Receives a plugin.
pub(super) async fn plugin(registry: &Registry, request: Request) -> Result<Upload, Problem> {
    let (media_type, length) = announced(request.headers());
    let is_form = media_type == "multipart/form-data";
    if !is_form && !["application/wasm", "application/octet-stream"].contains(&media_type.as_str()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "R0208",
            "Unsupported media type",
            "a plugin is uploaded as application/wasm, application/octet-stream, or multipart/form-data",
        ));
    }
    let max = registry.upload_bytes_max();
    if length > max + if is_form { FORM_BYTES_MAX } else { 0 } {
        drain(&mut request.into_body().into_data_stream()).await;
        return Err(RegistryError::TooLarge { max }.into());
    }
    let upload = registry.begin().await?;
    if is_form { form(upload, request).await } else { raw(upload, request).await }
}

/// The media type without parameters, and the bytes of the body, 0 if nobody says.
fn announced(headers: &HeaderMap) -> (String, u64) {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = header(header::CONTENT_TYPE).split(';').next().unwrap_or_default();
    (media_type.trim().to_ascii_lowercase(), header(header::CONTENT_LENGTH).parse().unwrap_or_default())
}

async fn raw(mut upload: Upload, request: Request) -> Result<Upload, Problem> {
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body breaks off: {error}")))?;
        if let Err(error) = upload.write(&chunk).await {
            drop(upload);
            drain(&mut body).await;
            return Err(error.into());
        }
    }
    Ok(upload)
}

async fn form(mut upload: Upload, request: Request) -> Result<Upload, Problem> {
    let broken = |error: axum::extract::multipart::MultipartError| Problem::malformed(error.body_text());
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|error| Problem::malformed(error.body_text()))?;
    let mut field = form.next_field().await.map_err(broken)?;
    let Some(file) = field.as_mut().filter(|field| field.name() == Some(FIELD)) else {
        return Err(Problem::malformed(format!("the form's first field is to be `{FIELD}`")));
    };
    while let Some(chunk) = file.chunk().await.map_err(broken)? {
        upload.write(&chunk).await?;
    }
    drop(field);
    match form.next_field().await.map_err(broken)? {
        None => Ok(upload),
        Some(_) => Err(Problem::malformed(format!("the form is to have no other field than `{FIELD}`"))),
    }
}

async fn drain(body: &mut BodyDataStream) {
    let mut read = 0;
    while let Some(Ok(chunk)) = body.next().await {
        read += chunk.len() as u64;
        if read > DRAIN_BYTES_MAX {
            return;
        }
    }
}
