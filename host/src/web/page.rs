//! Lists, a page at a time: `{items, next}`, where `next` is the cursor of the page after. Must not know what is listed.
use aide::{OperationOutput, generate::GenContext, openapi};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problem;

/// Items on a page, unless asked otherwise.
pub const LIMIT_DEFAULT: u32 = 50;

/// Items on a page.
pub const LIMIT_MAX: u32 = 500;

/// Bytes of a cursor.
const CURSOR_BYTES_MAX: usize = 1 << 10;

/// A page of a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// The `cursor` of the next page; null on the last.
    pub next: Option<String>,
}

/// Which part of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// `next` of the page before; without it the list begins.
    pub(super) cursor: Option<String>,
    /// Items on the page, from 1 to 500. Default 50.
    pub(super) limit: Option<u32>,
}

impl<T> Page<T> {
    /// A part of a list that mostly loses items at its beginning, if at all: it begins again where the last of the page before is not there any
    /// more. `key` names an item, given those before it.
    pub(super) fn part(mut all: Vec<T>, part: Part, key: impl Fn(&[T], &T) -> String) -> Result<Page<T>, Problem> {
        let (limit, place) = (limit(part.limit)?, part.cursor.as_deref().map(place).transpose()?);
        let keys: Vec<String> = all.iter().enumerate().map(|(at, item)| key(&all[..at], item)).collect();
        // What is not there any more was the last of what has gone.
        let last = place.and_then(|place| keys.iter().position(|key| *key == place));
        let begin = last.map_or(0, |last| last + 1);
        let next = keys.get(begin + limit - 1).filter(|_| begin + limit < keys.len());
        let next = next.map(|key| BASE64_URL_SAFE_NO_PAD.encode(key));
        all.drain(..begin);
        all.truncate(limit);
        Ok(Page { items: all, next })
    }

    /// A page of at most `limit` items, of up to one more than that; `cursor` names the place after an item.
    pub fn new(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| BASE64_URL_SAFE_NO_PAD.encode(cursor(last)));
        Page { items, next }
    }
}

/// What a cursor that a page gave stands for.
pub(super) fn place(cursor: &str) -> Result<String, Problem> {
    let bytes = (cursor.len() <= CURSOR_BYTES_MAX).then(|| BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()).flatten();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad_cursor)
}

/// A cursor that no page gave.
pub(super) fn bad_cursor() -> Problem {
    Problem::malformed("`cursor` is not one that a page of this list gave as `next`")
}

/// Items on a page, as asked for: from 1 to [`LIMIT_MAX`].
pub fn limit(asked: Option<u32>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        limit => Err(Problem::malformed(format!("`limit` is {limit}, not from 1 to {LIMIT_MAX}"))),
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

impl<T: JsonSchema + Serialize> OperationOutput for Page<T> {
    type Inner = Page<T>;

    fn operation_response(ctx: &mut GenContext, operation: &mut openapi::Operation) -> Option<openapi::Response> {
        Json::<Page<T>>::operation_response(ctx, operation)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut openapi::Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        Json::<Page<T>>::inferred_responses(ctx, operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_they_were_also_if_the_list_has_lost_its_beginning() {
        let part = |all: &[u32], cursor: Option<String>| {
            Page::part(all.to_vec(), Part { cursor, limit: Some(2) }, |_, item| item.to_string())
        };
        let first = part(&[1, 2, 3, 4, 5], None).unwrap();
        assert_eq!(first.items, [1, 2]);
        let second = part(&[2, 3, 4, 5, 6], first.next).unwrap();
        assert_eq!(second.items, [3, 4]);
        let last = part(&[5, 6], second.next).unwrap();
        assert_eq!((last.items, last.next), (vec![5, 6], None));
        assert_eq!(part(&[1], Some("!".into())).unwrap_err().status, 400);
    }
}
