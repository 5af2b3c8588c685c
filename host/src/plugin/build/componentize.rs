//! From a core module to a component. Guarantees: a component comes back byte for byte; a core module that carries its
//! component type becomes a valid component that imports nothing but the contract; anything else is an error, never a panic.
//! Must not know where the bytes come from, nor how a component is run.
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wit_component::ComponentEncoder;

use super::closed_wasi;

/// Why bytes could not be made into a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    /// Something else than WebAssembly.
    #[error("not a WebAssembly file: it must start with the bytes 00 61 73 6d (\"\\0asm\")")]
    NotWasm,
    /// The file ends before its contents do.
    #[error("the WebAssembly file is cut off after {length} bytes; copy or build it again")]
    Truncated {
        /// Bytes there are.
        length: usize,
    },
    /// WebAssembly, but wrong.
    #[error("the WebAssembly file is damaged: {0}; build it again")]
    Invalid(String),
    /// A core module nobody told what its exports mean.
    #[error(
        "a core WebAssembly module without a component type, so nothing says which operator it is: build it with the wasmill \
         SDK or with bindings made by wit-bindgen from wasmill's WIT, and do not strip its custom sections"
    )]
    NoComponentType,
    /// Its exports or imports are not those its component type promises.
    #[error("the module does not fit its component type: {0}")]
    Mismatch(String),
    /// A fault of this program.
    #[error("the closed WASI adapter could not be assembled: {0}; this is a fault of wasmill, please report it")]
    Adapter(String),
}

/// Turns `bytes` into a component. A component is returned as it is.
///
/// A module that imports `wasi_snapshot_preview1` is linked with an adapter that offers no files, no network and no
/// environment, a clock that counts its readings, the same random numbers every time, and a log for what is printed.
pub fn componentize(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ComponentizeError> {
    let module = inspect(bytes)?;
    let Some(module) = module else { return Ok(Cow::Borrowed(bytes)) };
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(bytes)
        .map_err(|error| ComponentizeError::Invalid(error.to_string()))?;
    if !module.has_component_type {
        return Err(ComponentizeError::NoComponentType);
    }
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    let adapter = if module.imports_wasi {
        Some(closed_wasi::adapter().map_err(|error| ComponentizeError::Adapter(error.to_string()))?)
    } else {
        None
    };
    // The encoder trusts its input to come from a toolchain; a component type made by anything else may break assertions in
    // it, and an upload must not bring down its reader.
    let encoded = catch_unwind(AssertUnwindSafe(|| {
        encoder.module(bytes)?;
        if let Some(adapter) = &adapter {
            encoder.adapter(closed_wasi::MODULE, adapter)?;
        }
        encoder.encode()
    }));
    match encoded {
        Ok(Ok(component)) => Ok(Cow::Owned(component)),
        Ok(Err(error)) => Err(ComponentizeError::Mismatch(format!("{error:#}"))),
        Err(_) => Err(ComponentizeError::Invalid("its component type makes no sense".into())),
    }
}

/// What matters of a core module here.
#[derive(Default)]
struct Module {
    has_component_type: bool,
    imports_wasi: bool,
}

/// Walks over the sections; `None` for a component.
fn inspect(bytes: &[u8]) -> Result<Option<Module>, ComponentizeError> {
    const MAGIC: &[u8] = b"\0asm";
    if !bytes.starts_with(MAGIC) {
        return Err(ComponentizeError::NotWasm);
    }
    let failed = |error: wasmparser::BinaryReaderError| {
        // The text is all that tells a file cut off inside a section from a damaged one.
        if error.message().starts_with("unexpected end") {
            ComponentizeError::Truncated { length: bytes.len() }
        } else {
            ComponentizeError::Invalid(error.to_string())
        }
    };
    let mut module = Module::default();
    let mut is_component = false;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(failed)? {
            Payload::Version { encoding: Encoding::Component, .. } => is_component = true,
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                module.has_component_type = true;
            }
            Payload::ImportSection(imports) if !is_component => {
                for import in imports.into_imports() {
                    module.imports_wasi |= import.map_err(failed)?.module == closed_wasi::MODULE;
                }
            }
            _ => {}
        }
    }
    Ok((!is_component).then_some(module))
}

#[cfg(test)]
mod tests {
    use wit_component::{StringEncoding, embed_component_metadata};
    use wit_parser::Resolve;

    use super::*;

    const WIT: &str = "package example:greeter; world greeter { export greet: func() -> u32; }";

    /// A core module of world `greeter`.
    fn module(text: &str) -> Vec<u8> {
        let mut module = wat::parse_str(text).unwrap();
        let mut resolve = Resolve::default();
        let package = resolve.push_str("greeter.wit", WIT).unwrap();
        let world = resolve.select_world(&[package], None).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        module
    }

    const GREETER: &str = r#"(module (func (export "greet") (result i32) i32.const 7) (memory (export "memory") 1))"#;
    const PRINTER: &str = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "greet") (result i32) (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 8))))"#;

    fn imports(component: &[u8]) -> Vec<String> {
        match wit_component::decode(component).unwrap() {
            wit_component::DecodedWasm::Component(resolve, world) => {
                resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect()
            }
            wit_component::DecodedWasm::WitPackage(..) => panic!("a package"),
        }
    }

    #[test]
    fn a_module_becomes_a_component_and_a_component_stays() {
        let module = module(GREETER);
        let component = componentize(&module).unwrap();
        assert!(imports(&component).is_empty());
        assert!(matches!(componentize(&component).unwrap(), Cow::Borrowed(same) if same == &*component));
    }

    #[test]
    fn of_wasi_only_the_log_is_left() {
        let module = module(PRINTER);
        let component = componentize(&module).unwrap();
        assert_eq!(imports(&component), ["wasmill:operator/logging@0.1.0"]);
    }

    #[test]
    fn errors_say_what_is_missing() {
        let message = |bytes: &[u8]| componentize(bytes).unwrap_err().to_string();
        assert!(message(b"").starts_with("not a WebAssembly file"));
        assert!(message(b"#!/bin/sh\n").starts_with("not a WebAssembly file"));
        let plain = message(&wat::parse_str("(module)").unwrap());
        assert!(plain.contains("without a component type") && plain.contains("wit-bindgen"), "{plain}");
        let text = message(&module("(module)"));
        assert!(text.contains("does not fit") && text.contains("`greet`"), "{text}");
        let text = message(&module(
            r#"(module (import "env" "answer" (func)) (func (export "greet") (result i32) i32.const 7))"#,
        ));
        assert!(text.contains("does not fit") && text.contains("env"), "{text}");
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let module = module(PRINTER);
        let mut truncated = 0;
        for length in 0..module.len() {
            match componentize(&module[..length]) {
                Err(ComponentizeError::Truncated { length: reported }) => {
                    assert_eq!(reported, length);
                    truncated += 1;
                }
                Err(_) => {}
                Ok(_) => panic!("{length} bytes of {} are enough", module.len()),
            }
        }
        // Only what ends between sections looks whole.
        assert!(truncated > module.len() - 20, "{truncated} of {}", module.len());
    }

    #[test]
    fn no_flipped_bit_brings_it_down() {
        for mut module in [module(GREETER), module(PRINTER)] {
            for bit in 0..module.len() * 8 {
                module[bit / 8] ^= 1 << (bit % 8);
                let _ = componentize(&module);
                module[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
