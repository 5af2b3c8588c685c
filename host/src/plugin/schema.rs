//! JSON schemas of plugins' configurations, which come from outside: what is made of one, and what it costs to hold a configuration against it, is
//! bounded. Must not know whose it is.
use std::collections::{BTreeMap, BTreeSet};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// Schemas within a schema, each counted as often as it is referred to.
const SCHEMAS_MAX: u64 = 10_000;

/// Bytes of all patterns together.
const PATTERN_BYTES_MAX: usize = 4 << 10;

/// Bytes of memory for one pattern.
const PATTERN_MEMORY_MAX: usize = 256 << 10;

/// What gives a part of a schema a name of its own, or refers to such: with these one part can stand for any number.
const NAMES: [&str; 7] = ["$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"];

/// What is no schema whatever it has.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];

/// What a schema's text says. Fails with what is wrong with it.
pub fn validator(text: &str) -> Result<Validator, String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut parts = Parts { root: &schema, sizes: BTreeMap::new(), on_the_way: BTreeSet::new(), pattern_bytes: 0 };
    parts.size(&schema)?;
    let patterns = PatternOptions::regex().size_limit(PATTERN_MEMORY_MAX);
    jsonschema::options().with_pattern_options(patterns).build(&schema).map_err(|error| error.to_string())
}

/// A schema that is looked through.
struct Parts<'a> {
    root: &'a Value,
    /// Of what was referred to.
    sizes: BTreeMap<&'a str, u64>,
    /// What is looked through right now.
    on_the_way: BTreeSet<&'a str>,
    pattern_bytes: usize,
}

impl<'a> Parts<'a> {
    /// How many schemas a part of it comes to.
    fn size(&mut self, part: &'a Value) -> Result<u64, String> {
        let mut size = 1_u64;
        let mut add = |more: u64| {
            size = size.saturating_add(more);
            match size > SCHEMAS_MAX {
                true => Err(format!(
                    "it comes to more than {SCHEMAS_MAX} parts, with each counted wherever it is referred to"
                )),
                false => Ok(()),
            }
        };
        match part {
            Value::Array(parts) => parts.iter().try_for_each(|part| add(self.size(part)?))?,
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(to) if name == "$ref" => add(self.size_of(to)?)?,
                        Value::String(_) if NAMES.contains(&name.as_str()) && !std::ptr::eq(part, self.root) => {
                            return Err(format!("only the whole of it may have `{name}`"));
                        }
                        Value::String(pattern) if name == "pattern" => self.pattern(pattern)?,
                        Value::Object(patterns) if name == "patternProperties" => {
                            patterns.keys().try_for_each(|pattern| self.pattern(pattern))?;
                            add(self.size(value)?)?;
                        }
                        _ if VALUES.contains(&name.as_str()) => {}
                        value => add(self.size(value)?)?,
                    }
                }
            }
            _ => {}
        }
        Ok(size)
    }

    /// The same of what is referred to.
    fn size_of(&mut self, reference: &'a str) -> Result<u64, String> {
        if let Some(size) = self.sizes.get(reference) {
            return Ok(*size);
        }
        let pointer = reference.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let part = pointer.and_then(|pointer| self.root.pointer(pointer));
        let part = part.ok_or_else(|| format!("it refers to `{reference}`, which is no part of it"))?;
        if !self.on_the_way.insert(reference) {
            return Err(format!("`{reference}` refers to itself"));
        }
        let size = self.size(part)?;
        self.on_the_way.remove(reference);
        self.sizes.insert(reference, size);
        Ok(size)
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.pattern_bytes += pattern.len();
        match self.pattern_bytes > PATTERN_BYTES_MAX {
            true => Err(format!("its patterns have more than {PATTERN_BYTES_MAX} bytes")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: Value) -> String {
        validator(&schema.to_string()).err().unwrap_or_default()
    }

    #[test]
    fn a_schema_is_as_good_as_its_parts() {
        let schema = json!({
            "$id": "https://example.org/limits",
            "type": "object",
            "properties": { "limit": { "$ref": "#/$defs/amount" }, "least": { "$ref": "#/$defs/amount" },
                            "id": { "type": "string", "pattern": "^[a-z]{1,8}$", "default": { "$ref": "nowhere" } } },
            "$defs": { "amount": { "type": "integer", "minimum": 0 } },
        });
        let validator = validator(&schema.to_string()).unwrap();
        assert!(validator.is_valid(&json!({ "limit": 3, "id": "abc" })));
        assert!(!validator.is_valid(&json!({ "limit": -1 })) && !validator.is_valid(&json!({ "id": "ABC" })));
        assert!(refused(json!({ "type": "nothing" })).contains("nothing"));
    }

    #[test]
    fn what_one_costs_is_bounded() {
        let layer = |number: u32| json!({ "allOf": [{ "$ref": format!("#/$defs/{}", number + 1) }, { "$ref": format!("#/$defs/{}", number + 1) }] });
        let mut layers: serde_json::Map<_, _> = (0..40).map(|number| (number.to_string(), layer(number))).collect();
        layers.insert("40".to_owned(), json!({ "type": "object" }));
        let deep = json!({ "$ref": "#/$defs/0", "$defs": layers });
        assert!(refused(deep).contains("10000 parts"));
        assert!(refused(json!({ "properties": { "a": { "$ref": "#" } } })).contains("refers to itself"));
        assert!(refused(json!({ "$ref": "https://example.org/other" })).contains("no part of it"));
        assert!(refused(json!({ "allOf": [{ "$id": "a" }] })).contains("only the whole"));
        assert!(refused(json!({ "pattern": "x".repeat(PATTERN_BYTES_MAX + 1) })).contains("4096 bytes"));
        assert!(!refused(json!({ "patternProperties": { "(\\p{L}{200})x": {} } })).is_empty());
        assert!(!refused(json!({ "pattern": "(\\p{L}{200})x" })).is_empty());
    }
}
