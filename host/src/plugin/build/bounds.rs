//! How large and how nested a component from outside may be, looked at in one pass before anything is made of it: what compiling it
//! costs follows from these numbers. Must not know where the bytes come from.
use wasmparser::{
    BlockType, ComponentInstance, CompositeInnerType, ElementItems, FunctionBody, Operator, Parser, Payload, RecGroup,
    Result as Parsed, SectionLimited,
};

/// Functions, imports and globals of all modules together: each instance has memory for every one. CPython, as a component, has some 20 000.
const FUNCTIONS_MAX: u64 = 100_000;
/// Types of all modules and components together.
const TYPES_MAX: u64 = 100_000;
/// Bytes of one function's body; what the compiler does grows faster than these. CPython's interpreter loop has less than half.
const FUNCTION_BYTES_MAX: u64 = 512 << 10;
/// What compiling all functions may cost, in us of one processor as measured with what is dear, so that most code costs less. CPython comes to
/// half of it.
const WORK_US_MAX: u64 = 80_000_000;
/// Of an instruction: a conversion of numbers, the dearest that does not branch. As many again for each value that a call may take and give.
const INSTRUCTION_US: u64 = 5;
/// Instructions that a function stands for, be it empty.
const FUNCTION_INSTRUCTIONS: u64 = 14;
/// Instructions and branches that one on a table stands for, such as an indirect call.
const TABLE_INSTRUCTIONS: u64 = 8;
const TABLE_BRANCHES: u64 = 4;
/// Branches that a loop stands for: it looks whether its time is up.
const LOOP_BRANCHES: u64 = 3;
/// A us is the cost of so many pairs of branches of a function, for each value they may carry: all its locals, or those of the longest type.
const BRANCH_PAIRS_PER_US: u64 = 200;
/// Loops within loops in a function: the compiler looks at the outer ones for each.
const LOOPS_MAX: u64 = 256;
/// Bytes of all bodies together.
const CODE_BYTES_MAX: u64 = 48 << 20;
/// Elements of all tables that modules write out: the compiler makes code of each. CPython, as a component, has some 10 000.
const ELEMENTS_MAX: u64 = 100_000;
/// The same, as if every instance had all of them.
const INSTANCE_ELEMENTS_MAX: u64 = 2_000_000;
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
    work_us: u64,
    /// Parameters and results of the longest type of a function.
    arity: u64,
    modules: u64,
    /// Of tables, in segments.
    elements: u64,
    /// Of core modules.
    instances: u64,
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
            Payload::TypeSection(types) => {
                self.arity = self.arity.max(arity(types.clone()));
                return self.types(types.count());
            }
            Payload::CoreTypeSection(types) => return self.types(types.count()),
            Payload::ComponentTypeSection(types) => {
                self.types(types.count())?;
                types.count()
            }
            Payload::FunctionSection(functions) => return self.functions(functions.count()),
            Payload::ImportSection(imports) => return self.functions(imports.count()),
            Payload::GlobalSection(globals) => return self.functions(globals.count()),
            Payload::CodeSectionEntry(body) => return self.code(&body),
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
            Payload::InstanceSection(instances) => {
                self.instances += u64::from(instances.count());
                self.check_elements()?;
                instances.count()
            }
            Payload::ElementSection(elements) => {
                let items = elements.into_iter().map_while(Parsed::ok).map(|element| match element.items {
                    ElementItems::Functions(functions) => u64::from(functions.count()),
                    ElementItems::Expressions(_, expressions) => u64::from(expressions.count()),
                });
                self.elements += items.sum::<u64>();
                within("elements of tables", self.elements, ELEMENTS_MAX)?;
                self.check_elements()?;
                0
            }
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

    /// Each instance of a module has memory for its elements, wherever it is.
    fn check_elements(&self) -> Result<(), BoundsError> {
        let instances = self.instances.max(1).saturating_mul(self.copies);
        within("elements of tables, in all instances,", self.elements.saturating_mul(instances), INSTANCE_ELEMENTS_MAX)
    }

    fn functions(&mut self, count: u32) -> Result<(), BoundsError> {
        self.functions += u64::from(count);
        within("functions, imports and globals", self.functions, FUNCTIONS_MAX)
    }

    fn code(&mut self, body: &FunctionBody<'_>) -> Result<(), BoundsError> {
        let range = body.range();
        let bytes = range.end - range.start;
        within("bytes in a function", bytes, FUNCTION_BYTES_MAX)?;
        self.code_bytes += bytes;
        within("bytes in functions", self.code_bytes, CODE_BYTES_MAX)?;
        let shape = Shape::of(body);
        within("loops in each other", shape.loops, LOOPS_MAX)?;
        self.work_us = self.work_us.saturating_add(shape.work_us(self.arity));
        within("us of work for the compiler, at worst,", self.work_us, WORK_US_MAX)
    }

    fn types(&mut self, count: u32) -> Result<(), BoundsError> {
        self.types += u64::from(count);
        within("types", self.types, TYPES_MAX)
    }
}

/// Parameters and results of the longest type of a function. What cannot be read is refused later.
fn arity(types: SectionLimited<'_, RecGroup>) -> u64 {
    let groups = types.into_iter().map_while(Parsed::ok);
    let arity = |kind: &CompositeInnerType| match kind {
        CompositeInnerType::Func(function) => function.params().len() + function.results().len(),
        _ => 0,
    };
    groups.flat_map(|group| group.types().map(|kind| arity(&kind.composite_type.inner)).max()).max().unwrap_or_default()
        as u64
}

/// What of a function's body the compiler's costs depend on.
#[derive(Default)]
struct Shape {
    locals: u64,
    instructions: u64,
    branches: u64,
    calls: u64,
    /// Loops within loops.
    loops: u64,
    /// Whether there are blocks of the types that functions have.
    typed: bool,
}

impl Shape {
    /// Of as much of it as can be read; the rest is refused later.
    fn of(body: &FunctionBody<'_>) -> Shape {
        let mut shape = Shape { instructions: FUNCTION_INSTRUCTIONS, ..Shape::default() };
        let locals = body.get_locals_reader().into_iter().flatten().map_while(Parsed::ok);
        shape.locals = locals.map(|(count, _)| u64::from(count)).sum();
        // Of each block that is open, whether it is a loop.
        let (mut open, mut loops) = (Vec::new(), 0);
        for operator in body.get_operators_reader().into_iter().flatten().map_while(Parsed::ok) {
            shape.instructions += 1;
            match operator {
                Operator::Loop { blockty } | Operator::Block { blockty } | Operator::If { blockty } => {
                    let is_loop = matches!(operator, Operator::Loop { .. });
                    open.push(is_loop);
                    loops += u64::from(is_loop);
                    shape.loops = shape.loops.max(loops);
                    shape.branches += if is_loop { LOOP_BRANCHES } else { 1 };
                    shape.typed |= matches!(blockty, BlockType::FuncType(_));
                }
                Operator::End => loops -= u64::from(open.pop().unwrap_or_default()),
                Operator::BrTable { targets } => shape.branches += u64::from(targets.len()) + 1,
                Operator::Br { .. } | Operator::BrIf { .. } | Operator::Else | Operator::Return => shape.branches += 1,
                Operator::Call { .. } | Operator::ReturnCall { .. } => shape.calls += 1,
                Operator::CallIndirect { .. }
                | Operator::CallRef { .. }
                | Operator::ReturnCallIndirect { .. }
                | Operator::ReturnCallRef { .. } => {
                    shape.calls += 1;
                    shape.table();
                }
                Operator::TableGet { .. }
                | Operator::TableSet { .. }
                | Operator::TableCopy { .. }
                | Operator::TableFill { .. }
                | Operator::TableInit { .. }
                | Operator::TableGrow { .. } => shape.table(),
                _ => {}
            }
        }
        shape
    }

    fn table(&mut self) {
        self.instructions += TABLE_INSTRUCTIONS;
        self.branches += TABLE_BRANCHES;
    }

    /// In a module whose longest type of a function has so many parameters and results.
    fn work_us(&self, arity: u64) -> u64 {
        let carried = 1 + self.locals + if self.typed { arity } else { 0 };
        let values = self.instructions.saturating_add(self.calls.saturating_mul(1 + arity));
        let pairs = self.branches.saturating_mul(self.branches).saturating_mul(carried);
        values.saturating_mul(INSTRUCTION_US).saturating_add(pairs / BRANCH_PAIRS_PER_US)
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
        let globals = "(global i32 (i32.const 0))".repeat(FUNCTIONS_MAX as usize);
        refused(&format!("(module (func) {globals})"), "functions, imports and globals");
        refused(&format!("(module (func {} {}))", "loop ".repeat(257), "end ".repeat(257)), "loops in each other");
        // All locals may be other ones wherever the loop begins again.
        let again = |branches: usize, locals: usize| {
            let (branches, locals) = ("(br_if 0 (local.get 0)) ".repeat(branches), "i32 ".repeat(locals));
            format!("(module (func (local {locals}) (loop {branches})))")
        };
        refused(&again(4000, 1000), "us of work for the compiler");
        assert!(check_bounds(&wat::parse_str(again(3990, 1000)).unwrap()).is_ok());
        let calls = |count: usize| {
            let [parameters, constants, drops] = ["i32 ", "i32.const 0 ", "drop "].map(|text| text.repeat(1000));
            let calls = "call 0 ".repeat(count);
            format!(
                "(module (func (param {parameters}) (result {parameters}) unreachable) (func {constants}{calls}{drops}))"
            )
        };
        refused(&calls(8000), "us of work for the compiler");
        assert!(check_bounds(&wat::parse_str(calls(7990)).unwrap()).is_ok());
        assert!(check_bounds(b"#!/bin/sh").is_ok());
        assert!(check_bounds(&wat::parse_str("(component (core module (func nop)))").unwrap()).is_ok());
    }
}
