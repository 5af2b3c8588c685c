//! Guests written by hand against the WIT: that they build, and into components that ask for nothing but the contract.
use std::{fs, path::Path};

use wasmill_tests::guests;
use wit_component::DecodedWasm;

/// Imported and exported interfaces.
fn surface(component: &Path) -> (Vec<String>, Vec<String>) {
    match wit_component::decode(&fs::read(component).unwrap()).unwrap() {
        DecodedWasm::Component(resolve, world) => {
            let world = &resolve.worlds[world];
            let names = |keys: Vec<_>| keys.into_iter().map(|key| resolve.name_world_key(key)).collect();
            (names(world.imports.keys().collect()), names(world.exports.keys().collect()))
        }
        DecodedWasm::WitPackage(..) => panic!("a package"),
    }
}

fn check(component: &Path, operators: &[&str]) {
    let (imports, exports) = surface(component);
    for import in imports {
        assert!(import.starts_with("wasmill:operator/"), "{import}");
    }
    for operator in operators {
        assert!(exports.contains(&format!("wasmill:operator/{operator}@0.1.0")), "{exports:?}");
    }
}

#[test]
fn the_c_guests_are_components() {
    check(&guests::c("word-count-c"), &["transform", "aggregate"]);
    check(&guests::c("misbehaving-c"), &["transform"]);
}

#[test]
fn the_python_guest_is_a_component() {
    check(&guests::python("word-count-python"), &["transform", "aggregate"]);
}
