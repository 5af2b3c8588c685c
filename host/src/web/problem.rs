//! How every error looks: problem details of RFC 9457. Guarantees that whatever fails, in a handler or in the framework, is answered so,
//! with the path that was asked for. Must not know who asked.
use aide::{OperationOutput, generate::GenContext, openapi};
use axum::{
    Json,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::describe;
use crate::{audit::AuditError, model::beginning, registry::RegistryError};

/// The media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Bytes of what the framework says of an error.
const FRAMEWORK_BYTES_MAX: usize = 4 << 10;

/// Bytes of what is said of an error, which may quote what was sent; the rest is cut off.
const DETAIL_BYTES_MAX: usize = 16 << 10;

/// What went wrong, for programs and for people (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// `/errors/` and the code.
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The same for all problems of a status and code.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: Box<str>,
    /// Stable, such as `R0106`; `docs/errors` has a page for each.
    pub code: Box<str>,
    /// The path that was asked for.
    pub instance: Box<str>,
}

/// The code in front of an error's text, and the rest.
fn split(text: &str) -> Option<(&str, &str)> {
    let (code, rest) = text.strip_prefix('[')?.split_once("] ")?;
    (code.len() == 5).then_some((code, rest))
}

impl Problem {
    /// A problem with a code of its own.
    pub fn new(status: StatusCode, code: &str, title: &str, detail: impl Into<Box<str>>) -> Problem {
        Problem {
            kind: format!("/errors/{code}").into(),
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.into(),
            instance: Box::default(),
        }
    }

    /// Of an error whose text begins with its code, as that of all errors with codes does.
    pub fn of(status: StatusCode, title: &str, error: &impl ToString) -> Problem {
        let text = beginning(error.to_string(), DETAIL_BYTES_MAX);
        match split(&text) {
            Some((code, detail)) => Problem::new(status, code, title, detail),
            None => Problem::new(status, Problem::code_of(status), title, text),
        }
    }

    /// A fault of this program; what it was is logged, not told.
    pub fn internal(what: impl ToString) -> Problem {
        tracing::error!(what = what.to_string(), "a request failed");
        Problem::framework(StatusCode::INTERNAL_SERVER_ERROR, String::new())
    }

    /// The request cannot be read: what is wrong with it.
    pub fn malformed(detail: impl Into<String>) -> Problem {
        Problem::framework(StatusCode::BAD_REQUEST, detail.into())
    }

    /// There is nothing here; `what` in words.
    pub fn missing(what: impl Into<String>) -> Problem {
        Problem::framework(StatusCode::NOT_FOUND, what.into())
    }

    /// The code of what the framework refuses.
    fn code_of(status: StatusCode) -> &'static str {
        match status {
            StatusCode::NOT_FOUND => "R0205",
            StatusCode::METHOD_NOT_ALLOWED => "R0206",
            StatusCode::PAYLOAD_TOO_LARGE => "R0207",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "R0208",
            status if status.is_client_error() => "R0209",
            _ => "R0215",
        }
    }

    fn framework(status: StatusCode, said: String) -> Problem {
        let code = Problem::code_of(status);
        let (title, detail) = match code {
            "R0205" => ("Not found", "there is nothing at this path"),
            "R0206" => ("Method not allowed", "the path is there, but not with this method"),
            "R0207" => ("Too large", "the body has too many bytes"),
            "R0208" => ("Unsupported media type", "the body is of a type that is not taken here"),
            "R0209" => ("Malformed request", "the request cannot be read"),
            _ => ("Internal error", "a fault of wasmill; its log says more"),
        };
        Problem::new(status, code, title, if said.is_empty() { detail.to_owned() } else { said })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl OperationOutput for Problem {
    type Inner = Problem;

    fn operation_response(ctx: &mut GenContext, _: &mut openapi::Operation) -> Option<openapi::Response> {
        Some(describe::problem(ctx, "Anything else that is wrong."))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut openapi::Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        Self::operation_response(ctx, operation).map(|response| (None, response)).into_iter().collect()
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Problem {
        let (status, title) = match &error {
            RegistryError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "Plugin too large"),
            RegistryError::Signature(_) => (StatusCode::FORBIDDEN, "Plugin not signed"),
            RegistryError::Bounds(_)
            | RegistryError::TimedOut(_)
            | RegistryError::Name(_)
            | RegistryError::Schema { .. }
            | RegistryError::Record { .. }
            | RegistryError::Load(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Plugin refused"),
            RegistryError::Conflict { .. } => (StatusCode::CONFLICT, "Version taken"),
            RegistryError::Unknown(_) => (StatusCode::NOT_FOUND, "No such plugin"),
            RegistryError::InUse { .. } => (StatusCode::CONFLICT, "Plugin in use"),
            RegistryError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Busy"),
            RegistryError::Full => (StatusCode::INSUFFICIENT_STORAGE, "No room"),
            RegistryError::Damaged { .. } | RegistryError::Io { .. } | RegistryError::Internal(_) => {
                tracing::error!(%error, "the registry failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "Registry failed")
            }
        };
        Problem::of(status, title, &error)
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Problem {
        tracing::error!(%error, "the audit log failed");
        Problem::of(StatusCode::INTERNAL_SERVER_ERROR, "Audit log failed", &error)
    }
}

/// Makes a problem of every error that goes out, with the path that was asked for.
pub(super) async fn everywhere(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let mut problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None => {
            let body = std::mem::replace(response.body_mut(), Body::empty());
            let said = to_bytes(body, FRAMEWORK_BYTES_MAX).await.unwrap_or_default();
            Problem::framework(status, String::from_utf8_lossy(&said).into_owned())
        }
    };
    problem.instance = path.into();
    let (body, headers) = (Json(&problem).into_response().into_body(), response.headers_mut());
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    *response.body_mut() = body;
    response
}
