//! Reading job files: variables and YAML that are refused.
use std::path::Path;

use super::{super::*, check_refused as check};

#[test]
fn variables_that_cannot_be_filled_in_are_refused() {
    check(&[
        (
            "parallelism: 2",
            "parallelism: ${PARALLELISM}",
            r#"error[J0102]: the environment variable `PARALLELISM` is not set
  --> job.yaml:2:14
   = help: set it, or write a default: `${PARALLELISM:value}`"#,
        ),
        (
            "parallelism: 2",
            "parallelism: ${PARALLELISM",
            r#"error[J0102]: `${` without `}`
  --> job.yaml:2:14
   = help: write `${NAME}`, or `$${` for a literal `${`"#,
        ),
        (
            "parallelism: 2",
            "parallelism: ${A B}",
            r#"error[J0102]: `${A B}` is no variable
  --> job.yaml:2:14
   = help: write `${NAME}` with letters, digits and `_`, or `$${` for a literal `${`"#,
        ),
        (
            "parallelism: 2",
            "parallelism: ${LINES}",
            r#"error[J0102]: the environment variable `LINES` has a line break
  --> job.yaml:2:14
   = help: only values of one line can be put into a job file"#,
        ),
        (
            "parallelism: 2",
            "parallelism: ${PARALLELISM:99999}",
            r#"error[J0107]: `parallelism` is 99999, but must be from 1 to 32768
  --> job.yaml:2:14"#,
        ),
        (
            "format: text",
            "format: ${PORT}, on_error: x",
            r#"error[J0106]: this must be a format: `text`, `raw`, `json`, `csv`, `{ csv: {...} }`, or `avro`, `protobuf` and `json_schema` with `{ registry: ... }`, not integer `9999`
  --> job.yaml:4:51"#,
        ),
        (
            "{ socket: { address: \"localhost:9999\" }, format: text }",
            "{ socket: { address: \"h:${PORT}\" }, fromat: text }",
            r#"error[J0104]: unknown field or connector `fromat` in a source
  --> job.yaml:4:46
   = help: did you mean `format`?"#,
        ),
    ]);
}

/// A job of this text in which the variable `A` has so many bytes.
fn long(text: &str, bytes: usize) -> Result<(), String> {
    let env = |name: &str| (name == "A").then(|| "a".repeat(bytes));
    parse(text, "job.yaml", &env, Path::new("")).map(drop).map_err(|error| error.to_string())
}

#[test]
fn a_text_that_grows_as_it_is_filled_in_is_refused() {
    let quarter = JOB_FILE_BYTES_MAX as usize / 4;
    let text = |references: usize| format!("{}\nname: x", "${A}".repeat(references));
    let error = long(&text(17), quarter).unwrap_err();
    let expected =
        "error[J0102]: with its variables filled in the text has more than 4194304 bytes\n  --> job.yaml:1:65";
    assert!(error.starts_with(expected), "{error}");
    // As many as there may be fail on what they say only.
    let error = long(&text(16), quarter).unwrap_err();
    assert!(!error.contains("J0102"), "{error}");
    let error = long(&text(JOB_FILE_BYTES_MAX as usize / 4), quarter).unwrap_err();
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn what_is_no_yaml_is_refused() {
    check(&[
        (
            "sources:\n",
            "sources: [\n",
            r#"error[J0106]: this must be a map, such as `{ name: value }`
  --> job.yaml:3:10"#,
        ),
        (
            "name: word-count",
            "name: *x",
            r#"error[J0103]: reference to unknown value
  --> job.yaml:1:7"#,
        ),
        (
            "name: word-count",
            "--- {}\n--- {}",
            r#"error[J0103]: only single YAML document expected but multiple found
  --> job.yaml:2:5"#,
        ),
        (
            "name: word-count",
            "name: \"word",
            r#"error[J0103]: invalid indentation in multiline quoted scalar
  --> job.yaml:2:1"#,
        ),
        (
            "  out: {",
            "  out: }",
            r#"error[J0103]: misplaced bracket
  --> job.yaml:9:8"#,
        ),
    ]);
}
