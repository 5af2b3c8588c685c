//! The way of an author: a new plugin from the template passes its own tests and becomes a component the engine takes.
use std::{path::PathBuf, process::Command};

use wasmill::{
    model::{Kind, OperatorKind, Shape},
    plugin::{
        Plugin, PluginEngine,
        build::{self, Language},
    },
};
use wasmill_tests::guests;

#[test]
fn a_new_plugin_passes_its_tests_and_loads() {
    let parent = tempfile::tempdir().unwrap();
    let sdk = guests::root().join("sdk");
    let directory = build::new("first-steps", Language::Rust, parent.path(), Some(&sdk)).unwrap();

    let mut tests = Command::new("cargo");
    tests.args(["test", "--quiet"]).current_dir(&directory).env("CARGO_TARGET_DIR", guests::native_target());
    let output = tests.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let component = guests::rust_plugin(&directory);
    assert_eq!(component, directory.canonicalize().unwrap().join("target/wasmill/first-steps.wasm"));
    let engine = PluginEngine::new(Some(guests::compiled())).unwrap();
    let plugin = Plugin::load(&engine, &component).unwrap_or_else(|error| panic!("{error}"));
    let description = plugin.description(OperatorKind::Transform).unwrap();
    assert_eq!((&*description.name, description.version.to_string()), ("first-steps", "0.1.0".to_owned()));
    let Shape::Columns(columns) = &description.output else { panic!("{description:?}") };
    assert_eq!(columns.iter().map(|field| (&*field.name, field.kind)).collect::<Vec<_>>(), [("word", Kind::Utf8)]);

    // Nothing changed: cargo finds its work done, and the component is not written again.
    let written = || component.metadata().unwrap().modified().unwrap();
    let before = written();
    let options = build::Options { verbose: false, build_directory: Some(guests::rust_target()) };
    let again: PathBuf = build::build(&directory, &options).unwrap();
    assert_eq!((again, written()), (component.clone(), before));
}
