//! Conditional requests: `If-None-Match` to spare a body, `If-Match` to change only what was seen. A tag is opaque text without quotes.
use std::convert::Infallible;

use aide::{OperationInput, generate::GenContext, openapi};
use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Problem, describe};
use crate::{
    control::ChangeError,
    service::{Seen, ServiceError},
};

/// The header's tags, without quotes and `W/`; none without the header.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<Vec<&str>> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).peekable();
    values.peek()?;
    let tags = values.flat_map(|value| value.split(',')).map(str::trim);
    Some(tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')).collect())
}

/// The value of `ETag`. A tag has only visible ASCII.
pub fn etag(tag: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether the caller has the state with this tag, so that the answer is 304.
pub fn not_modified(headers: &HeaderMap, tag: &str) -> bool {
    tags(headers, header::IF_NONE_MATCH).is_some_and(|tags| tags.iter().any(|known| *known == "*" || *known == tag))
}

/// Something as JSON with its tag, unless the caller has it.
pub(super) fn tagged(headers: &HeaderMap, tag: &str, value: impl Serialize) -> Response {
    let header = [(header::ETAG, etag(tag))];
    if not_modified(headers, tag) {
        return (StatusCode::NOT_MODIFIED, header).into_response();
    }
    (header, Json(value)).into_response()
}

/// Tags of states, in one of which it is to be what the caller wants changed; any if there is no such header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct IfMatch(Option<Vec<String>>);

impl IfMatch {
    fn of(headers: &HeaderMap) -> IfMatch {
        let tags = tags(headers, header::IF_MATCH).filter(|tags| !tags.contains(&"*"));
        IfMatch(tags.map(|tags| tags.into_iter().map(str::to_owned).collect()))
    }

    /// Refuses to change what is in another state.
    pub(super) fn check(&self, tag: &str) -> Result<(), Problem> {
        match &self.0 {
            Some(tags) if !tags.iter().any(|known| known == tag) => Err(changed(&format!("ETag \"{tag}\""))),
            _ => Ok(()),
        }
    }

    /// Tags that are numbers of changes.
    pub(super) fn seen(&self) -> Seen {
        self.0.as_ref().map(|tags| tags.iter().filter_map(|tag| tag.parse().ok()).collect())
    }

    /// What came of a change: if another was in force, or came first, it is not what the caller has seen.
    pub(super) fn result<T>(&self, done: Result<T, ServiceError>) -> Result<T, Problem> {
        done.map_err(|error| match error {
            ServiceError::Change(ChangeError::Overtaken) if self.0.is_some() => changed("another ETag"),
            error => error.into(),
        })
    }
}

fn changed(now: &str) -> Problem {
    let detail = format!("it is in the state with {now} now, not in one of `If-Match`");
    Problem::new(StatusCode::PRECONDITION_FAILED, "R0214", "Changed meanwhile", detail)
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(IfMatch::of(&parts.headers))
    }
}

impl OperationInput for IfMatch {
    fn operation_input(ctx: &mut GenContext, operation: &mut openapi::Operation) {
        let parameter = describe::parameter::<String>(ctx, "if-match", "The `ETag` the caller has seen");
        operation.parameters.push(openapi::ReferenceOr::Item(parameter));
        let refused = describe::problem(ctx, "It was changed since the caller has seen it.");
        let responses = operation.responses.get_or_insert_with(Default::default);
        responses.responses.insert(openapi::StatusCode::Code(412), openapi::ReferenceOr::Item(refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn tags_are_compared_one_by_one() {
        for (value, same) in
            [(r#""a""#, true), (r#"W/"a""#, true), (r#""b", "a""#, true), ("*", true), (r#""ab""#, false)]
        {
            assert_eq!(not_modified(&headers(header::IF_NONE_MATCH, value), "a"), same, "{value}");
            let matched = IfMatch::of(&headers(header::IF_MATCH, value)).check("a");
            assert_eq!(matched.is_ok(), same, "{value}");
            assert!(matched.is_ok() || matched.is_err_and(|problem| problem.status == 412));
        }
        let seen = |value| IfMatch::of(&headers(header::IF_MATCH, value)).seen();
        assert_eq!((seen(r#""7", W/"9", "a""#), seen("\"a\""), seen("*")), (Some(vec![7, 9]), Some(vec![]), None));
        assert!(!not_modified(&HeaderMap::new(), "a"));
        assert_eq!(IfMatch::of(&HeaderMap::new()), IfMatch(None));
    }

    #[test]
    fn a_change_that_was_overtaken_is_not_what_the_caller_has_seen() {
        let overtaken = |conditions: IfMatch| {
            conditions
                .result::<()>(Err(ChangeError::Overtaken.into()))
                .map_err(|problem| (problem.status, problem.code))
        };
        assert_eq!(overtaken(IfMatch(Some(vec!["7".into()]))), Err((412, "R0214".into())));
        assert_eq!(overtaken(IfMatch(None)), Err((409, "X0106".into())));
        let other = IfMatch(Some(Vec::new())).result::<()>(Err(ServiceError::NoJob("x".into())));
        assert_eq!(other.unwrap_err().status, 404);
    }
}
