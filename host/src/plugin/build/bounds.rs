//! How large and how nested a component from outside may be, looked at in one pass before anything is made of it: what compiling it
//! costs follows from these numbers. Must not know where the bytes come from.
use wasmparser::{ComponentInstance, Parser, Payload};

/// Functions of all modules together. CPython, as a component, has some 20 000.
const FUNCTIONS_MAX: u64 = 200_000;
/// Types of all modules and components together.
const TYPES_MAX: u64 = 100_000;
/// Bytes of one function's body; what the compiler does grows faster than these. CPython's interpreter loop has less than half.
const FUNCTION_BYTES_MAX: u64 = 512 << 10;
/// Bytes of all bodies together.
const CODE_BYTES_MAX: u64 = 48 << 20;
/// Modules and components together.
const MODULES_MAX: u64 = 256;
/// Components within components.
const NESTING_MAX: usize = 8;
/// Items (instances, aliases, functions, types) a component may have once every component in it is written out as often as it is
/// instantiated: the compiler does that, and a few hundred bytes can ask for any number.
const ITEMS_MAX: u64 = 1 << 20;

/// What there is too much of.
#[derive(Debug, thiserror::Error)]
#[error("it has {found} {what}, {max} are allowed")]
pub struct BoundsError {
    /// In the plural.
    what: &'static str,
    found: u64,
    max: u64,
}

/// What has been counted so far.
#[derive(Default)]
struct Counts {
    functions: u64,
    types: u64,
    code_bytes: u64,
    modules: u64,
    items: u64,
    /// Of each component that is not over yet, its instantiations of other components.
    open: Vec<u64>,
    /// How often a component may at most be written out: no chain of instantiations passes a component twice.
    copies: u64,
}

fn within(what: &'static str, found: u64, max: u64) -> Result<(), BoundsError> {
    if found > max { Err(BoundsError { what, found, max }) } else { Ok(()) }
}

/// Whether bytes are a component, and not a core module that is still to be made into one.
pub fn is_component(bytes: &[u8]) -> bool {
    Parser::is_component(bytes)
}

/// Refuses what is too large to compile in bounded time and memory. What is no WebAssembly at all passes: whoever loads it says so.
pub fn check_bounds(bytes: &[u8]) -> Result<(), BoundsError> {
    let mut counts = Counts { copies: 1, ..Counts::default() };
    for payload in Parser::new(0).parse_all(bytes) {
        let Ok(payload) = payload else { break };
        counts.add(payload)?;
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, payload: Payload<'_>) -> Result<(), BoundsError> {
        let items = match payload {
            Payload::Version { .. } => {
                self.modules += 1;
                self.open.push(0);
                within("modules and components", self.modules, MODULES_MAX)?;
                return within("levels of components in each other", self.open.len() as u64, NESTING_MAX as u64);
            }
            Payload::End(_) => {
                let instantiations = self.open.pop().unwrap_or_default();
                self.copies = self.copies.saturating_mul(1 + instantiations);
                0
            }
            Payload::TypeSection(types) => return self.types(types.count()),
            Payload::CoreTypeSection(types) => return self.types(types.count()),
            Payload::ComponentTypeSection(types) => {
                self.types(types.count())?;
                types.count()
            }
            Payload::FunctionSection(functions) => {
                self.functions += u64::from(functions.count());
                return within("functions", self.functions, FUNCTIONS_MAX);
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                let bytes = range.end - range.start;
                within("bytes in a function", bytes, FUNCTION_BYTES_MAX)?;
                self.code_bytes += bytes;
                return within("bytes in functions", self.code_bytes, CODE_BYTES_MAX);
            }
            Payload::ComponentInstanceSection(instances) => {
                let instantiations = instances
                    .clone()
                    .into_iter()
                    .take_while(Result::is_ok)
                    .filter(|instance| matches!(instance, Ok(ComponentInstance::Instantiate { .. })))
                    .count();
                if let Some(open) = self.open.last_mut() {
                    *open += instantiations as u64;
                }
                instances.count()
            }
            Payload::InstanceSection(instances) => instances.count(),
            Payload::ComponentAliasSection(aliases) => aliases.count(),
            Payload::ComponentCanonicalSection(functions) => functions.count(),
            Payload::ComponentImportSection(imports) => imports.count(),
            Payload::ComponentExportSection(exports) => exports.count(),
            _ => 0,
        };
        self.items += u64::from(items);
        let open = self.open.iter().fold(self.copies, |copies, open| copies.saturating_mul(1 + open));
        within("items, written out,", self.items.saturating_mul(open), ITEMS_MAX)
    }

    fn types(&mut self, count: u32) -> Result<(), BoundsError> {
        self.types += u64::from(count);
        within("types", self.types, TYPES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[track_caller]
    fn refused(text: &str, what: &str) {
        let error = check_bounds(&wat::parse_str(text).unwrap()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }

    #[test]
    fn a_component_that_multiplies_is_refused() {
        let chain = |fan_out: usize| {
            let mut text = String::from("(component (component $c0 (core module))");
            for level in 1..12 {
                let instances = format!("(instance (instantiate {})) ", level - 1).repeat(fan_out);
                write!(text, "(component $c{level} (alias outer 1 {} (component)) {instances})", level - 1).unwrap();
                text = text.replace(&format!("(instantiate {})", level - 1), "(instantiate 0)");
            }
            text + ")"
        };
        refused(&chain(8), "items, written out,");
        assert!(check_bounds(&wat::parse_str(chain(1)).unwrap()).is_ok());
    }

    #[test]
    fn what_costs_too_much_is_refused() {
        refused(&("(component ".repeat(9) + &")".repeat(9)), "levels of components");
        refused(&format!("(component {})", "(core module) ".repeat(256)), "modules and components");
        refused(&format!("(module (func {}))", "nop ".repeat(FUNCTION_BYTES_MAX as usize)), "bytes in a function");
        refused(&format!("(module {})", "(func)".repeat(FUNCTIONS_MAX as usize + 1)), "functions");
        assert!(check_bounds(b"#!/bin/sh").is_ok());
        assert!(check_bounds(&wat::parse_str("(component (core module (func nop)))").unwrap()).is_ok());
    }
}
