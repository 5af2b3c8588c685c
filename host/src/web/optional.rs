//! Bodies that may be left out, but not be overlooked. Must not know what they say.
use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{Operation, ReferenceOr},
};
use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// What a body of JSON says, the default without a body. A body of another media type, or of none, is refused.
pub(super) struct Optional<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for Optional<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let body = body.map_err(IntoResponse::into_response)?;
        if body.is_empty() {
            return Ok(Optional(T::default()));
        }
        let read = Json::from_request(Request::from_parts(parts, body.into()), state).await;
        read.map(|Json(value)| Optional(value)).map_err(IntoResponse::into_response)
    }
}

impl<T: JsonSchema> OperationInput for Optional<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(ctx, operation);
        if let Some(ReferenceOr::Item(body)) = &mut operation.request_body {
            body.required = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::header};
    use serde_json::Value;

    use super::*;

    async fn read(media_type: Option<&str>, body: &'static str) -> Result<Value, u16> {
        let mut request = Request::builder();
        if let Some(media_type) = media_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let read = Optional::from_request(request.body(Body::from(body)).unwrap(), &()).await;
        read.map(|Optional(value)| value).map_err(|response| response.status().as_u16())
    }

    #[tokio::test]
    async fn a_body_may_be_left_out_but_is_not_overlooked() {
        const JSON: Option<&str> = Some("application/json");
        assert_eq!(read(None, "").await, Ok(Value::Null));
        assert_eq!(read(JSON, "").await, Ok(Value::Null));
        assert_eq!(read(JSON, "1").await, Ok(1.into()));
        assert_eq!(read(JSON, "{").await, Err(400));
        assert_eq!(read(None, "1").await, Err(415));
        assert_eq!(read(Some("text/plain"), "1").await, Err(415));
    }
}
