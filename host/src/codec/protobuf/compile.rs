//! A `.proto` file and what it imports, compiled in memory. Imports are what the registry says they are; Google's own are there without it.
use std::collections::HashMap;

use prost_reflect::MessageDescriptor;
use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};

use crate::codec::framed::RegisteredSchema;

/// What the file itself is called: nobody imports it by this name.
const ROOT: &str = "registered.schema.proto";

/// Brackets within each other. Messages may be 31 deep; options have some in them too.
const BRACKETS_MAX: usize = 64;

/// Files by the names that others import them by.
struct Files(HashMap<String, String>);

impl FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        File::from_source(name, self.0.get(name).ok_or_else(|| Error::file_not_found(name))?)
    }
}

/// The messages of the file, each with its place: that of the outermost message among those of the file, of the next among those in that.
/// What stands for the entries of a map is not counted, as it is not in Confluent's own clients.
pub fn compile(schema: &RegisteredSchema) -> Result<Vec<(Vec<usize>, MessageDescriptor)>, String> {
    let mut files: HashMap<String, String> =
        schema.references.iter().map(|reference| (reference.name.clone(), reference.text.clone())).collect();
    files.insert(ROOT.into(), schema.text.clone());
    if files.values().any(|text| brackets(text) > BRACKETS_MAX) {
        return Err(format!("it has more than {BRACKETS_MAX} brackets within each other"));
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Files(files));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_file(ROOT).map_err(|error| describe(&error))?;
    let pool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(ROOT).ok_or("nothing came of it")?;
    let mut found = Vec::new();
    collect(file.messages(), &[], &mut found);
    Ok(found)
}

fn collect(
    messages: impl Iterator<Item = MessageDescriptor>,
    path: &[usize],
    found: &mut Vec<(Vec<usize>, MessageDescriptor)>,
) {
    for (i, message) in messages.filter(|message| !message.is_map_entry()).enumerate() {
        let path = [path, &[i]].concat();
        collect(message.child_messages(), &path, found);
        found.push((path, message));
    }
}

fn describe(error: &Error) -> String {
    match error.file() {
        Some(file) if file != ROOT => format!("{file}: {error}"),
        _ => error.to_string(),
    }
}

/// How many brackets are within each other, outside comments and strings.
fn brackets(text: &str) -> usize {
    let (mut depth, mut most) = (0usize, 0);
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after.first()) {
            (b'/', Some(b'/')) => behind(after, b"\n"),
            (b'/', Some(b'*')) => behind(&after[1..], b"*/"),
            (b'"' | b'\'', _) => behind_quote(after, *first),
            (b'{' | b'[' | b'(' | b'<', _) => {
                depth += 1;
                most = most.max(depth);
                after
            }
            (b'}' | b']' | b')' | b'>', _) => {
                depth = depth.saturating_sub(1);
                after
            }
            _ => after,
        };
    }
    most
}

/// What comes after the first `end`.
fn behind<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    memchr::memmem::find(text, end).map_or(&[], |at| &text[at + end.len()..])
}

/// What comes after a string that a quote has begun, or after its line, where it must end.
fn behind_quote(text: &[u8], quote: u8) -> &[u8] {
    let mut i = 0;
    while let Some(byte) = text.get(i) {
        match byte {
            b'\\' => i += 1,
            b'\n' => return &text[i..],
            byte if *byte == quote => return &text[i + 1..],
            _ => {}
        }
        i += 1;
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_counted_where_they_mean_something() {
        for (text, depth) in [
            ("", 0),
            ("message A { map<string, int32> m = 1 [(o) = { a: [1] }]; }", 4),
            ("// (((((\nmessage A {}", 1),
            ("/* ((( // */ {{ }} /* (", 2),
            ("option a = \"((\\\"((\" ; { '((\\' }}' }", 1),
            ("\"((( \n {", 1),
            ("}}}} {", 1),
            ("/", 0),
        ] {
            assert_eq!(brackets(text), depth, "{text}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_before_it_is_parsed() {
        let text = |depth: usize| format!("option (o) = {}{};", "{ a ".repeat(depth), "}".repeat(depth));
        let compile = |text| {
            compile(&RegisteredSchema { kind: crate::codec::SchemaKind::Protobuf, text, references: Vec::new() })
        };
        assert!(compile(text(100_000)).unwrap_err().contains("brackets"));
        assert!(!compile(text(10)).unwrap_err().contains("brackets"));
    }
}
