//! What a registry's answer means. Pure. Guarantees that an id the registry does not know is told from an address where no registry is.
use serde::Deserialize;

/// Bytes shown of an answer that makes no sense.
const SHOWN_CHARS_MAX: usize = 200;

/// Codes by which registries say that they have no such subject, version or schema.
const UNKNOWN_CODES: [i64; 3] = [40401, 40402, 40403];

/// An answer that can be used.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// A schema.
    Found(Document),
    /// There is none.
    Unknown,
    /// It has more bytes than are read.
    TooLong,
}

/// A schema as registries send it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// Its text.
    #[serde(rename = "schema")]
    pub text: String,
    /// What it is written in; it is not said of Avro.
    #[serde(rename = "schemaType", default = "avro")]
    pub kind: String,
    /// What it refers to itself.
    #[serde(default, deserialize_with = "null_or")]
    pub references: Vec<Reference>,
}

/// What a schema refers to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reference {
    /// What the schema calls it.
    pub name: String,
    /// Where the registry has it.
    pub subject: String,
    /// Which version of that.
    pub version: i32,
}

fn avro() -> String {
    "AVRO".into()
}

fn null_or<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Why there is no answer, and whether asking again may help.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong.
    pub what: String,
    /// Whether it may pass.
    pub retry: bool,
}

#[derive(Deserialize)]
struct Problem {
    error_code: i64,
    #[serde(default)]
    message: String,
}

/// What was answered with a status and a body.
pub fn read(status: u16, body: &[u8]) -> Result<Answer, Failure> {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let shown = || match &problem {
        Some(problem) if !problem.message.is_empty() => problem.message.chars().take(SHOWN_CHARS_MAX).collect(),
        _ => String::from_utf8_lossy(body).chars().take(SHOWN_CHARS_MAX).collect::<String>(),
    };
    let failure = |what: String, retry| Err(Failure { what, retry });
    match status {
        200 => match serde_json::from_slice(body) {
            Ok(document) => Ok(Answer::Found(document)),
            Err(error) => failure(format!("answers with what no schema registry says ({error}): {}", shown()), false),
        },
        404 if problem.as_ref().is_some_and(|problem| UNKNOWN_CODES.contains(&problem.error_code)) => {
            Ok(Answer::Unknown)
        }
        401 | 403 => failure(format!("refuses who asks: check `username` and `password` (status {status})"), false),
        404 => {
            failure(format!("has no schema registry at this path: check the `url` (status 404: {})", shown()), false)
        }
        408 | 429 | 500.. => failure(format!("status {status}: {}", shown()), true),
        _ => failure(format!("status {status}: {}", shown()), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_is_told_from_what_is_no_registry() {
        let read = |status, body: &str| read(status, body.as_bytes());
        let retry = |status, body: &str| read(status, body).unwrap_err().retry;
        assert_eq!(read(404, r#"{"error_code":40403,"message":"none"}"#), Ok(Answer::Unknown));
        assert!(!retry(404, r#"{"error_code":404,"message":"no such resource"}"#) && !retry(404, "<html>"));
        assert!(!retry(200, "<html>") && !retry(401, "") && !retry(307, "") && !retry(422, ""));
        assert!(retry(500, "") && retry(503, "") && retry(429, ""));
        let document = |kind: &str, references| Document { text: "x".into(), kind: kind.into(), references };
        assert_eq!(read(200, r#"{"schema":"x"}"#), Ok(Answer::Found(document("AVRO", vec![]))));
        let reference = Reference { name: "n".into(), subject: "s".into(), version: 2 };
        let body = r#"{"schema":"x","schemaType":"JSON","references":[{"name":"n","subject":"s","version":2}],"id":1}"#;
        assert_eq!(read(200, body), Ok(Answer::Found(document("JSON", vec![reference]))));
        assert_eq!(read(200, r#"{"schema":"x","references":null}"#), Ok(Answer::Found(document("AVRO", vec![]))));
    }
}
