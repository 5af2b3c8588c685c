//! The closed adapter: what a guest that imports `wasi_snapshot_preview1` is linked with, so that its component imports
//! nothing but the contract. Must not know how components are loaded or run.
use std::{fmt::Write, path::Path};

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

/// The import name the adapter stands in for.
pub(super) const MODULE: &str = "wasi_snapshot_preview1";

const TEMPLATE: &str = include_str!("closed_wasi.wat");
/// The contract, and a world that needs of it what the adapter does.
const CONTRACT: [(&str, &str); 4] = [
    ("types.wit", include_str!("../../../../wit/types.wit")),
    ("host.wit", include_str!("../../../../wit/host.wit")),
    ("operator.wit", include_str!("../../../../wit/operator.wit")),
    ("closed-wasi.wit", "package wasmill:operator@0.1.0;\nworld closed-wasi { import logging; }"),
];

/// The longest line of output, in bytes; a longer one is logged in pieces.
const LINE_MAX_BYTES: usize = 1024;
const WORD_BYTES: usize = 8;
const WORDS: usize = LINE_MAX_BYTES / WORD_BYTES;
/// The longest UTF-8 character.
const CHARACTER_MAX_BYTES: usize = 4;

/// The adapter as a core module with its component type.
pub(super) fn adapter() -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut module = wat::parse_str(text())?;
    let mut sources = SourceMap::new();
    for (name, text) in CONTRACT {
        sources.push(Path::new(name), text);
    }
    let mut resolve = Resolve::default();
    let package = resolve.push_group(sources.parse().map_err(|(_, error)| error)?)?;
    let world = resolve.select_world(&[package], Some("closed-wasi"))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    Ok(module)
}

/// The template with its table of globals filled in: WebAssembly cannot index globals, so a jump table does.
fn text() -> String {
    let mut globals = String::new();
    let mut jump = "(br_table".to_owned();
    for word in 0..WORDS {
        let _ = writeln!(globals, "(global $w{word} (mut i64) (i64.const 0))");
        let _ = write!(jump, " {word}");
    }
    jump.push_str(" (local.get $i))");
    let dispatch = |arm: &dyn Fn(usize) -> String| {
        let mut text = "(block ".repeat(WORDS);
        text.push_str(&jump);
        (0..WORDS).for_each(|word| {
            let _ = writeln!(text, ") (return {})", arm(word));
        });
        text
    };
    TEMPLATE
        .replace(";; @globals", &globals)
        .replace(";; @load", &dispatch(&|word| format!("(global.get $w{word})")))
        .replace(";; @store", &dispatch(&|word| format!("(global.set $w{word} (local.get $value))")))
        .replace("@last", &(LINE_MAX_BYTES - CHARACTER_MAX_BYTES).to_string())
}
