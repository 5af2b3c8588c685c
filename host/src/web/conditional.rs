//! Conditional requests: `If-None-Match` to spare a body, `If-Match` to change only what was seen. A tag is opaque text without quotes.
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Problem;

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

/// Refuses to change what the caller has not seen in its present state, if the caller says what it has seen.
pub fn check_match(headers: &HeaderMap, tag: &str) -> Result<(), Problem> {
    match tags(headers, header::IF_MATCH) {
        Some(tags) if !tags.iter().any(|known| *known == "*" || *known == tag) => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "R0214",
            "Changed meanwhile",
            format!("it is in the state with ETag \"{tag}\" now, not in one of `If-Match`"),
        )),
        _ => Ok(()),
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
            let matched = check_match(&headers(header::IF_MATCH, value), "a");
            assert_eq!(matched.is_ok(), same, "{value}");
            assert!(matched.is_ok() || matched.is_err_and(|problem| problem.status == 412));
        }
        assert!(!not_modified(&HeaderMap::new(), "a"));
        assert!(check_match(&HeaderMap::new(), "a").is_ok());
    }
}
