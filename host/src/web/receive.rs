//! The body of an upload: a file as it is, or a field of a form. Written away as it comes; no more of it than a piece, and what a form says
//! of the file, is in memory.
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::{FromRequest, Multipart, Request, multipart::MultipartError},
    http::{HeaderMap, StatusCode, header},
};
use futures::{Stream, StreamExt};

use super::Problem;
use crate::registry::{Registry, RegistryError, Upload};

/// The form's field.
const FIELD: &str = "file";

/// Bytes that are still read of what is refused, so that the caller hears why before the connection is closed.
const DRAIN_BYTES_MAX: u64 = 16 << 20;

/// Bytes a form may have before the file, and after it.
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
    let (parts, body) = request.into_parts();
    let incoming = Incoming::new(body);
    let max = registry.upload_bytes_max();
    if length > max + if is_form { 2 * FORM_BYTES_MAX } else { 0 } {
        // Who waits to be asked for the body has sent nothing yet.
        if !parts.headers.contains_key(header::EXPECT) {
            drain(incoming).await;
        }
        return Err(RegistryError::TooLarge { max }.into());
    }
    let received = async {
        let upload = registry.begin().await?;
        if is_form {
            form(upload, Request::from_parts(parts, Body::from_stream(incoming.clone())), &incoming).await
        } else {
            raw(upload, incoming.clone()).await
        }
    };
    let received: Result<Upload, Problem> = received.await;
    if received.is_err() {
        drain(incoming).await;
    }
    received
}

/// The media type without parameters, and the bytes of the body, 0 if nobody says.
fn announced(headers: &HeaderMap) -> (String, u64) {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = header(header::CONTENT_TYPE).split(';').next().unwrap_or_default();
    (media_type.trim().to_ascii_lowercase(), header(header::CONTENT_LENGTH).parse().unwrap_or_default())
}

/// A body, piece by piece; what is left of it can still be read once a form had it.
#[derive(Clone)]
struct Incoming(Arc<Mutex<Pieces>>);

struct Pieces {
    body: BodyDataStream,
    /// Bytes that may still come.
    left: u64,
    /// Whether the last call gave a piece.
    gave: bool,
}

impl Incoming {
    fn new(body: Body) -> Incoming {
        Incoming(Arc::new(Mutex::new(Pieces { body: body.into_data_stream(), left: u64::MAX, gave: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on only so many bytes may come; once there were as many, the next piece is an error.
    fn allow(&self, bytes: u64) {
        self.lock().left = bytes;
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut pieces = self.lock();
        // A form takes all there is before it looks at any of it, which may be everything: so it is given one piece at a time.
        if std::mem::take(&mut pieces.gave) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if pieces.left == 0 {
            return Poll::Ready(Some(Err(axum::Error::new("there is too much of it"))));
        }
        let next = ready!(pieces.body.poll_next_unpin(context));
        if let Some(Ok(piece)) = &next {
            pieces.left = pieces.left.saturating_sub(piece.len() as u64);
            pieces.gave = true;
        }
        Poll::Ready(next)
    }
}

async fn raw(mut upload: Upload, mut body: Incoming) -> Result<Upload, Problem> {
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| Problem::malformed(format!("the body breaks off: {error}")))?;
        upload.write(&chunk).await?;
    }
    Ok(upload)
}

async fn form(mut upload: Upload, request: Request, incoming: &Incoming) -> Result<Upload, Problem> {
    let broken = |error: MultipartError| {
        Problem::malformed(match incoming.lock().left {
            0 => format!("the form has more than {FORM_BYTES_MAX} bytes before the file or after it"),
            _ => error.body_text(),
        })
    };
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|error| Problem::malformed(error.body_text()))?;
    incoming.allow(FORM_BYTES_MAX);
    let mut field = form.next_field().await.map_err(broken)?;
    let Some(file) = field.as_mut().filter(|field| field.name() == Some(FIELD)) else {
        return Err(Problem::malformed(format!("the form's first field is to be `{FIELD}`")));
    };
    // The upload has a limit of its own.
    incoming.allow(u64::MAX);
    while let Some(chunk) = file.chunk().await.map_err(broken)? {
        upload.write(&chunk).await?;
    }
    drop(field);
    incoming.allow(FORM_BYTES_MAX);
    match form.next_field().await.map_err(broken)? {
        None => Ok(upload),
        Some(_) => Err(Problem::malformed(format!("the form is to have no other field than `{FIELD}`"))),
    }
}

async fn drain(mut body: Incoming) {
    body.allow(DRAIN_BYTES_MAX);
    while let Some(Ok(_)) = body.next().await {}
}

#[cfg(test)]
mod tests;
