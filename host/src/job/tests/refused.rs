//! Reading job files: what is refused, and in which words.
use super::check_refused as check;

#[test]
fn a_source_has_one_connector_and_an_operator_one_step() {
    check(&[
        (
            "{ socket: { address: \"localhost:9999\" }, format: text }",
            "{ format: text }",
            r#"error[J0110]: source `lines` has no connector
  --> job.yaml:4:3
   = help: write one of `file`, `generator`, `kafka`, `socket` and `stdin`, such as `file: {...}`"#,
        ),
        (
            "format: text",
            "stdin: {}",
            r#"error[J0110]: source `lines` has two connectors, `socket` and `stdin`
  --> job.yaml:4:51
   = help: make it two sources"#,
        ),
        (
            "transform: { plugin: ../plugins/words }",
            "chain: true",
            r#"error[J0111]: operator `words` runs nothing
  --> job.yaml:6:3
   = help: write one of `transform`, `keyed_process`, `connected_process`, `broadcast_process`, `aggregate`, `process_window`, `window_join`, `interval_join` and `rules`, such as `transform: { plugin: ... }`"#,
        ),
        (
            "transform: { plugin: ../plugins/words }",
            "transform: { plugin: a }, aggregate: { plugin: b }",
            r#"error[J0111]: operator `words` has both `transform` and `aggregate`
  --> job.yaml:6:63
   = help: make it two operators"#,
        ),
    ]);
}

#[test]
fn missing_fields_are_named_with_an_example() {
    check(&[
        (
            "name: word-count\n",
            "",
            r#"error[J0105]: the field `name` is missing or empty
  --> job.yaml:1:1
   = help: write `name: my-job`"#,
        ),
        (
            "sinks:\n  out: { input: counts, print: {} }",
            "sinks: {}",
            r#"error[J0105]: the field `sinks` is missing or empty
  --> job.yaml:1:1
   = help: write `sinks: { out: { input: lines, print: {} } }`"#,
        ),
        (
            "input: lines, transform",
            "transform",
            r#"error[J0105]: the field `input` is missing
  --> job.yaml:6:12
   = help: write `input:` with the name of a source or operator"#,
        ),
        (
            "transform: { plugin: ../plugins/words }",
            "transform: { config: {} }",
            r#"error[J0105]: the field `plugin` is missing
  --> job.yaml:6:39
   = help: write `plugin:` with the path of a crate's folder or of a `.wasm` file"#,
        ),
        (
            "input: counts, print",
            "print",
            r#"error[J0105]: sink `out` has no `input`
  --> job.yaml:9:3
   = help: write `input:` with the name of a source or operator"#,
        ),
        (
            "tumbling: 5s",
            "offset: 5s",
            r#"error[J0112]: this window has none of `tumbling`, `sliding`, `session`, `global` and `count`
  --> job.yaml:7:46
   = help: write one, such as `tumbling: 5s`"#,
        ),
    ]);
}

#[test]
fn names_are_checked_and_distinct() {
    check(&[
        (
            "  out:",
            "  1out:",
            r#"error[J0108]: `1out` cannot be a name
  --> job.yaml:9:3
   = help: names begin with a letter and have letters, digits, `-` and `_` only"#,
        ),
        (
            "name: word-count",
            "name: \"word count\"",
            r#"error[J0108]: `word count` cannot be a name
  --> job.yaml:1:7
   = help: names begin with a letter and have letters, digits, `-` and `_` only"#,
        ),
        (
            "name: word-count",
            "name: nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
            r#"error[J0108]: a name has 101 bytes; 100 are the most
  --> job.yaml:1:7
   = help: names begin with a letter and have letters, digits, `-` and `_` only"#,
        ),
        (
            "input: lines",
            "input: a.b.c",
            r#"error[J0108]: `b.c` cannot be a name
  --> job.yaml:6:19
   = help: names begin with a letter and have letters, digits, `-` and `_` only"#,
        ),
        (
            "input: lines",
            "input: [lines, lines]",
            r#"error[J0109]: `lines` is listed twice
  --> job.yaml:6:27"#,
        ),
        (
            "key: word",
            "key: [word, word]",
            r#"error[J0109]: `word` is listed twice
  --> job.yaml:7:39"#,
        ),
        (
            "parallelism: 2",
            "parallelism: 2\nparallelism: 3",
            r#"error[J0109]: `parallelism` is given twice
  --> job.yaml:3:1"#,
        ),
        (
            "  out:",
            "  lines:",
            r#"error[J0109]: `lines` is given twice, first in line 4
  --> job.yaml:9:3
   = help: sources, operators and sinks share their names: choose another"#,
        ),
        (
            "  counts:",
            "  words:",
            r#"error[J0109]: `words` is given twice
  --> job.yaml:7:3"#,
        ),
        (
            "print: {}",
            "print: {}, uid: words",
            r#"error[J0109]: `words` and `out` have the same uid `words`
  --> job.yaml:9:41
   = help: state is found by uid: choose another; where there is none, the name is the uid"#,
        ),
    ]);
}

#[test]
fn unknown_fields_get_a_suggestion_or_the_list() {
    check(&[
        (
            "parallelism: 2",
            "paralelism: 2",
            r#"error[J0104]: unknown field `paralelism`
  --> job.yaml:2:1
   = help: did you mean `parallelism`?"#,
        ),
        (
            "parallelism: 2",
            "zebra: 2",
            r#"error[J0104]: unknown field `zebra`
  --> job.yaml:2:1
   = help: the fields here are `name`, `parallelism`, `max_parallelism`, `batch`, `state`, `checkpoints`, `savepoints`, `restart`, `sources`, `operators` and `sinks`"#,
        ),
        (
            "format: text",
            "formt: text",
            r#"error[J0104]: unknown field or connector `formt` in a source
  --> job.yaml:4:51
   = help: did you mean `format`?"#,
        ),
        (
            "address",
            "adress",
            r#"error[J0104]: unknown field `adress`
  --> job.yaml:4:22
   = help: did you mean `address`?"#,
        ),
        (
            "tumbling: 5s",
            "size: 5s",
            r#"error[J0104]: unknown field `size`
  --> job.yaml:7:48
   = help: the fields here are `tumbling`, `sliding`, `session`, `global`, `count`, `offset`, `time`, `allowed_lateness`, `trigger` and `purge`"#,
        ),
        (
            "print: {}",
            "print: {}, colums: [a]",
            r#"error[J0104]: unknown field or connector `colums` in a sink
  --> job.yaml:9:36
   = help: did you mean `columns`?"#,
        ),
    ]);
}

#[test]
fn values_of_another_type_are_refused() {
    check(&[
        (
            "parallelism: 2",
            "parallelism: two",
            r#"error[J0106]: this must be a whole number
  --> job.yaml:2:14"#,
        ),
        (
            "parallelism: 2",
            "parallelism: {}",
            r#"error[J0106]: this must be a single value
  --> job.yaml:2:14"#,
        ),
        (
            "sources:\n",
            "sources: [a]\nx:\n",
            r#"error[J0106]: this must be a map, such as `{ name: value }`
  --> job.yaml:3:10"#,
        ),
        (
            "{ socket: { address: \"localhost:9999\" }, format: text }",
            "hello",
            r#"error[J0106]: this must be a map, such as `{ name: value }`
  --> job.yaml:4:10"#,
        ),
        (
            "transform: { plugin: ../plugins/words }",
            "transform: ../plugins/words",
            r#"error[J0106]: this must be a map, such as `{ name: value }`
  --> job.yaml:6:37"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, chain: maybe",
            r#"error[J0106]: this must be `true` or `false`
  --> job.yaml:6:59"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, chain: no",
            r#"error[J0106]: this must be `true` or `false`
  --> job.yaml:6:59"#,
        ),
        (
            "input: lines",
            "input: 7",
            r#"error[J0106]: this must be a name or a list of names, not integer `7`
  --> job.yaml:6:12"#,
        ),
        (
            "input: lines",
            "input: { a: b }",
            r#"error[J0106]: this must be a name or a list of names, not a map, such as `{ name: value }`
  --> job.yaml:6:19"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a, config: [1] }",
            r#"error[J0106]: this must be a map, such as `{ name: value }`
  --> job.yaml:6:58"#,
        ),
    ]);
}

#[test]
fn values_out_of_range_or_not_understood_are_refused() {
    check(&[
        (
            "parallelism: 2",
            "parallelism: 0",
            r#"error[J0107]: `parallelism` is 0, but must be from 1 to 32768
  --> job.yaml:2:14"#,
        ),
        (
            "parallelism: 2",
            "max_parallelism: 32769",
            r#"error[J0107]: `max_parallelism` is 32769, but must be from 1 to 32768
  --> job.yaml:2:18"#,
        ),
        (
            "parallelism: 2",
            "batch: { records: 0 }",
            r#"error[J0107]: `records` is 0, but must be from 1 to 1048576
  --> job.yaml:2:19"#,
        ),
        (
            "parallelism: 2",
            "batch: { bytes: 65MiB }",
            r#"error[J0107]: `bytes` is 65.0 MiB, but must be from 1 B to 64.0 MiB
  --> job.yaml:2:17"#,
        ),
        (
            "parallelism: 2",
            "batch: { flush: 2min }",
            r#"error[J0107]: `flush` is 2m, but must be from 0s to 1m
  --> job.yaml:2:17"#,
        ),
        (
            "format: text",
            "format: xml",
            r#"error[J0107]: `xml` is not possible here
  --> job.yaml:4:51
   = help: the possible values are `text`, `raw`, `json`, `csv`, `avro`, `protobuf` and `json_schema`"#,
        ),
        (
            "format: text",
            "schema: { a: i46 }",
            r#"error[J0107]: column `a` has the unknown type `i46`
  --> job.yaml:4:64
   = help: did you mean `i64`?"#,
        ),
        (
            "format: text",
            "schema: { a: decimal }",
            r#"error[J0107]: column `a` has the unknown type `decimal`
  --> job.yaml:4:64
   = help: the types are `bool`, `i64`, `f64`, `string` and `bytes`, each with `?` if values may be null"#,
        ),
        (
            "format: text",
            "schema: {}",
            r#"error[J0107]: this schema has no columns
  --> job.yaml:4:59
   = help: write `schema: { id: i64 }`"#,
        ),
        (
            "format: text",
            "time: { out_of_orderness: 5 }",
            r#"error[J0107]: `out_of_orderness: 5` is no duration
  --> job.yaml:4:77
   = help: write a number and a unit, such as `500ms`, `5s`, `10min`, `1h` or `1d`"#,
        ),
        (
            "format: text",
            "time: { out_of_orderness: 5us }",
            r#"error[J0107]: `out_of_orderness` is 5us, but must be whole milliseconds
  --> job.yaml:4:77"#,
        ),
        (
            "format: text",
            "time: { idle: 0s }",
            r#"error[J0107]: `idle` is 0s, but must be from 1ms to 100years
  --> job.yaml:4:65"#,
        ),
        (
            "format: text",
            "on_error: ignore",
            r#"error[J0107]: `ignore` is not possible here
  --> job.yaml:4:61
   = help: the possible values are `fail` and `skip`"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: \"\" }",
            r#"error[J0107]: `plugin` is empty
  --> job.yaml:6:47
   = help: write the path of a crate's folder or of a `.wasm` file, or `name@version` of an uploaded one"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, limits: { memory: 5GiB }",
            r#"error[J0107]: `memory` is 5.0 GiB, but must be from 64.0 KiB to 4.0 GiB
  --> job.yaml:6:70"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, limits: { memory: much }",
            r#"error[J0107]: `memory: much` is no size
  --> job.yaml:6:70
   = help: write a number of bytes, or one with a unit, such as `64KiB`, `256MiB` or `1GB`"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, limits: { memory: 1MiB, retire_memory: 2MiB }",
            r#"error[J0107]: `retire_memory` is 2.0 MiB, but must be from 1 B to 1.0 MiB
  --> job.yaml:6:91"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, limits: { batch_time: 2h }",
            r#"error[J0107]: `batch_time` is 2h, but must be from 1ms to 1h
  --> job.yaml:6:74"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, capabilities: [clocks, files]",
            r#"error[J0113]: there is no capability "files"
  --> job.yaml:6:66
   = help: there are `clocks` and `randomness`: write `capabilities: [clocks]`, or leave it out"#,
        ),
        (
            "{ plugin: ../plugins/words }",
            "{ plugin: a }, capabilities: [{ network: [api.example.com] }]",
            r#"error[J0113]: this host cannot grant `network` yet
  --> job.yaml:6:66
   = help: there are `clocks` and `randomness`: write `capabilities: [clocks]`, or leave it out"#,
        ),
        (
            "print: {}",
            "print: {}, capabilities: network",
            r#"error[J0204]: sink `out` has `capabilities`, but no plugin
  --> job.yaml:9:50
   = help: leave out `capabilities:`, or write `sink: { plugin: ... }`"#,
        ),
        (
            "input: lines",
            "input: []",
            r#"error[J0107]: this list is empty
  --> job.yaml:6:19
   = help: write at least one name"#,
        ),
        (
            "tumbling: 5s",
            "tumbling: 0s",
            r#"error[J0107]: `tumbling` is 0s, but must be from 1ms to 100years
  --> job.yaml:7:58"#,
        ),
        (
            "tumbling: 5s",
            "tumbling: 5s, offset: 5s",
            r#"error[J0107]: `offset` is 5s, but must be from 0s to 4s 999ms
  --> job.yaml:7:70"#,
        ),
        (
            "tumbling: 5s",
            "tumbling: 5s, time: wall",
            r#"error[J0107]: `wall` is not possible here
  --> job.yaml:7:68
   = help: the possible values are `event` and `processing`"#,
        ),
        (
            "key: word",
            "key: word, parallelism: 129",
            r#"error[J0107]: the keyed operator `counts` has parallelism 129, above `max_parallelism: 128`
  --> job.yaml:7:3
   = help: lower its `parallelism:`; max_parallelism can be raised only while the job has no state"#,
        ),
    ]);
}
