//! Reading job files: variables and YAML that are refused.
use super::check_refused as check;

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
