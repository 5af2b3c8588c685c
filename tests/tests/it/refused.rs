//! Files that are no operator of this contract: each is refused before anything runs, and what is different is named.
use std::{fs, path::Path};

use wasmill::model::OperatorKind;
use wasmill_tests::guests;
use wit_parser::Resolve;

use super::jobs::{self, Variables};

const JOB: &str = r#"
name: refused
sources:
  lines: { stdin: {} }
operators:
  suspect: { input: lines, transform: { plugin: suspect.wasm } }
sinks:
  out: { input: suspect, print: {} }
"#;

/// A transform that says of itself that it is `fine` 0.1.0, reads nothing and passes its input's rows on, and does no more.
const FINE: &str = r#"(module
  (memory (export "memory") 1)
  ;; name, version, one input, no keys, shape `input-rows`, and nothing else
  (data (i32.const 1024) "\90\04\00\00\04\00\00\00" "\98\04\00\00\05\00\00\00" "\a0\04\00\00\01\00\00\00")
  (data (i32.const 1168) "fine") (data (i32.const 1176) "0.1.0")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 2048)
  (func (export "wasmill:operator/transform@VERSION#describe") (result i32) i32.const 1024)
  (func (export "wasmill:operator/transform@VERSION#configure") (param i32 i32 i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "wasmill:operator/transform@VERSION#process") PROCESS unreachable))"#;
const PROCESS: &str = "(param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)";

/// The error of a job whose plugin has these bytes.
fn error(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("suspect.wasm"), bytes).unwrap();
    let Err(error) = jobs::prepared(JOB, directory.path(), &Variables::new()) else { panic!("it was taken") };
    assert!(error.is_before_start());
    let text = error.to_string();
    for part in ["job.yaml:6", "operator `suspect`", "suspect.wasm"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    text
}

#[track_caller]
fn check(bytes: &[u8], parts: &[&str]) {
    let text = error(bytes);
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// [`FINE`], with the component type of a transform of the contract after `edit`.
fn fine(version: &str, process: &str, edit: impl Fn(&str) -> String) -> Vec<u8> {
    let contract = tempfile::tempdir().unwrap();
    for entry in guests::root().join("wit").read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            let text = edit(&fs::read_to_string(&path).unwrap()).replace("@0.1.0", &format!("@{version}"));
            fs::write(contract.path().join(path.file_name().unwrap()), text).unwrap();
        }
    }
    let mut module = wat(&FINE.replace("VERSION", version).replace("PROCESS", process));
    embed(&mut module, contract.path());
    module
}

/// [`FINE`], with more in its module.
pub fn fine_with(more: &str) -> Vec<u8> {
    let text = FINE.replace("VERSION", "0.1.0").replace("PROCESS", PROCESS);
    let text = text.strip_suffix(')').expect("a module ends with a parenthesis");
    let mut module = wat(&format!("{text} {more})"));
    embed(&mut module, &guests::root().join("wit"));
    module
}

fn embed(module: &mut Vec<u8>, contract: &Path) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(contract).unwrap_or_else(|error| panic!("{error:#}"));
    let world = resolve.select_world(&[package], Some("transform-operator")).unwrap();
    wit_component::embed_component_metadata(module, &resolve, world, wit_component::StringEncoding::UTF8).unwrap();
}

#[test]
fn what_the_others_are_made_from_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("suspect.wasm"), fine("0.1.0", PROCESS, str::to_owned)).unwrap();
    let prepared = jobs::prepared(JOB, directory.path(), &Variables::new()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        prepared.plugins[&("suspect".to_owned(), OperatorKind::Transform)].plugin.descriptions()[0].name,
        "fine"
    );
}

#[test]
fn other_versions_of_the_contract_are_refused() {
    for version in ["0.0.9", "0.2.0"] {
        let name = format!("wasmill:operator/transform@{version}");
        check(
            &fine(version, PROCESS, str::to_owned),
            &["[P0203]", &format!("@{version}`"), version, "this host speaks wasmill:operator@0.1.0"],
        );
        let bare = wat(&format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#));
        check(&bare, &["[P0203]", &name, "this host speaks wasmill:operator@0.1.0"]);
    }
    let import = wat(r#"(component (import "wasmill:operator/logging@0.2.0" (instance)))"#);
    check(&import, &["[P0203]", "wasmill:operator/logging@0.2.0"]);
    let import = |patch| format!(r#"(import "wasmill:operator/logging@0.1.{patch}" (instance))"#);
    let twice = wat(&format!("(component {} {})", import(0), import(1)));
    check(&twice, &["[P0203]", "imports `logging` of several versions"]);
    let export = |patch| format!(r#"(export "wasmill:operator/transform@0.1.{patch}" (instance $i))"#);
    let twice = wat(&format!("(component (instance $i) {} {})", export(0), export(1)));
    check(&twice, &["[P0203]", "exports `transform` of several versions"]);
}

#[test]
fn functions_of_another_type_are_refused() {
    let process = "process: func(moment: moment, batch: batch) -> result<emission, fault>;\n}\n\n/// Folds";
    let edited = |text: &str| text.replacen(process, "process: func(rows: u32) -> u32;\n}\n\n/// Folds", 1);
    let other = fine("0.1.0", "(param i32) (result i32)", edited);
    check(&other, &["[P0203]", "`process` has another type than in the contract"]);

    let describe = "interface transform {\n  use types.{description, placement, moment, batch, emission, fault};\n  describe: func() -> description;";
    let edited = |text: &str| text.replacen(describe, &describe.replace("-> description", "-> string"), 1);
    let other = fine("0.1.0", PROCESS, edited);
    check(&other, &["[P0203]", "`describe` has another type than in the contract"]);

    let empty = wat(r#"(component (instance $i) (export "wasmill:operator/transform@0.1.0" (instance $i)))"#);
    check(&empty, &["[P0203]", "`wasmill:operator/transform@0.1.0` without its function `describe`"]);
}

#[test]
fn imports_beyond_the_contract_are_refused() {
    for import in ["wasi:filesystem/types@0.3.0", "wasmill:operator/secrets@0.1.0", "acme:home/phone"] {
        let component = wat(&format!(r#"(component (import "{import}" (instance)))"#));
        check(&component, &["[P0204]", &format!("`{import}`"), "wasmill:operator/logging@0.1.0", "WASI 0.2"]);
    }
}

#[test]
fn components_that_are_no_operators_are_refused() {
    check(&wat("(component)"), &["[P0203]", "exports nothing", "wasmill:operator/{transform, aggregate"]);
    let other = wat(r#"(component (instance $i) (export "acme:home/phone" (instance $i)))"#);
    check(&other, &["[P0203]", "exports `acme:home/phone`", "must export at least one of"]);
}

#[test]
fn files_that_are_no_components_are_refused() {
    check(b"", &["[P0202]"]);
    check(b"#!/bin/sh\necho hello\n", &["[P0202]", "not a WebAssembly file"]);
    check(&wat("(module)"), &["[P0202]", "without a component type"]);
    let whole = fs::read(jobs::plugin("word-count")).unwrap();
    for length in [6, 100, whole.len() / 2, whole.len() - 1] {
        check(&whole[..length], &["[P0202]"]);
    }
    let mut damaged = whole.clone();
    let middle = whole.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    check(&damaged, &["[P0202]"]);
}
