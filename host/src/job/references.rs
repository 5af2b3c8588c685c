//! Variables in configurations of plugins: they stay `${NAME}` in all that is kept and shown, and are filled in whenever a plugin is configured.
//! Guarantees that what is filled in is bounded. Must not know where values come from, nor who keeps configurations.
use std::{collections::BTreeMap, fmt, sync::Arc};

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::{
    Code, JobError, JobSpec, OperatorSpec, PluginSpec, SinkSpec, StepSpec,
    substitute::{Substituted, substitute, value_of},
    yaml,
};
use crate::model::OperatorKind;

/// Bytes of all values filled into one configuration.
pub const FILLED_BYTES_MAX: usize = 4 << 20;

/// The one name in an object that stands for what its text is as YAML, once that is filled in.
const YAML: &str = "$yaml";

/// Bytes of a value from which on it is hidden in messages: shorter ones are in many texts by chance.
const HIDDEN_BYTES_MIN: usize = 4;

/// What variables stand for at the moment they are asked for. Clones share.
#[derive(Clone)]
pub struct Variables(Arc<Values>);

type Values = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Variables {
    /// What this says.
    pub fn new(value: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Variables {
        Variables(Arc::new(value))
    }

    /// The value of a variable, by name.
    pub fn value(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

impl Default for Variables {
    /// None is set.
    fn default() -> Variables {
        Variables::new(|_| None)
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What they stand for may be secret.
        f.write_str("Variables")
    }
}

/// A configuration as the plugin gets it.
pub struct Filled {
    /// JSON.
    pub configuration: Value,
    /// By what is between the braces.
    values: BTreeMap<String, String>,
}

impl Filled {
    /// Whether any variable was filled in.
    pub fn has_variables(&self) -> bool {
        !self.values.is_empty()
    }

    /// A text about the configuration, with `${NAME}` in place of values, as far as they are quoted word by word.
    pub fn hide(&self, text: String) -> String {
        let mut values: Vec<_> = self.values.iter().filter(|(_, value)| value.len() >= HIDDEN_BYTES_MIN).collect();
        // Those that are part of others come last.
        values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        values.into_iter().fold(text, |text, (reference, value)| {
            let (hidden, quoted) = (format!("${{{reference}}}"), format!("{value:?}"));
            text.replace(value, &hidden).replace(&quoted[1..quoted.len() - 1], &hidden)
        })
    }
}

/// Fills in the variables of a configuration: in all its texts and names, in which `$${` is a literal `${`. `{"$yaml": "${NAME}"}` is what the text
/// is as YAML, such as a number. Fails, without telling any value, if one is not set or there is too much to fill in.
pub fn fill(configuration: &Value, variables: &Variables) -> Result<Filled, String> {
    let mut filling = Filling { variables, values: BTreeMap::new(), bytes: 0 };
    let configuration = filling.value(configuration)?;
    Ok(Filled { configuration, values: filling.values })
}

struct Filling<'a> {
    variables: &'a Variables,
    values: BTreeMap<String, String>,
    /// That were filled in.
    bytes: usize,
}

impl Filling<'_> {
    fn value(&mut self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(values) => values.iter().map(|value| self.value(value)).collect::<Result<_, _>>()?,
            Value::Object(map) => match map.get(YAML) {
                Some(Value::String(text)) if map.len() == 1 => yaml::read(&self.text(text)?)
                    .map_err(|_| format!("`{text}` is no YAML once its variables are filled in"))?,
                _ => {
                    let filled = map.iter().map(|(name, value)| Ok((self.text(name)?, self.value(value)?)));
                    Value::Object(filled.collect::<Result<Map<_, _>, String>>()?)
                }
            },
            other => other.clone(),
        })
    }

    fn text(&mut self, text: &str) -> Result<String, String> {
        let (mut out, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                out.push_str("${");
                rest = after;
            } else if let Some(reference) = rest.strip_prefix("${") {
                let unclosed = || "`${` without `}`: write `${NAME}`, or `$${` for a literal `${`".to_owned();
                let (reference, after) = reference.split_once('}').ok_or_else(unclosed)?;
                out.push_str(self.variable(reference)?);
                rest = after;
            } else {
                out.push('$');
                rest = &rest[1..];
            }
        }
        Ok(out + rest)
    }

    fn variable(&mut self, reference: &str) -> Result<&str, String> {
        if !self.values.contains_key(reference) {
            let value = value_of(reference, &|name| self.variables.value(name));
            let value = value.map_err(|(message, help)| format!("{message}: {help}"))?;
            self.values.insert(reference.to_owned(), value);
        }
        let value = &self.values[reference];
        self.bytes += value.len();
        if self.bytes > FILLED_BYTES_MAX {
            return Err(format!("its variables would fill in more than {FILLED_BYTES_MAX} bytes"));
        }
        Ok(value)
    }
}

/// Has the configurations of a job's plugins be as they are written in its text, with `${NAME}`, which was filled in to read it. Fails where a
/// variable is more than a value in a configuration, or part of one.
pub(super) fn refer(spec: &mut JobSpec, text: &str, filled: &Substituted) -> Result<(), JobError> {
    let (mut marks, mut tree) = (Marks { mark: None, filled: &filled.filled }, Some(Value::Null));
    if !filled.filled.is_empty() {
        marks.mark = ('\u{E000}'..='\u{F8FF}').find(|mark| !text.contains(*mark));
        tree = marks.mark.and_then(|mark| read_marked(text, mark));
    }
    for (path, plugin) in plugins(&mut spec.operators, &mut spec.sinks) {
        if plugin.config.is_empty() {
            continue;
        }
        let config = Value::Object(std::mem::take(&mut plugin.config).into_iter().collect());
        let marked = match marks.mark {
            Some(_) => tree.as_ref().and_then(|tree| path.iter().try_fold(tree, |tree, name| marks.find(tree, name))),
            None if filled.filled.is_empty() => Some(&config),
            None => None,
        };
        let Some(Value::Object(written)) = marked.and_then(|marked| marks.written(marked, &config)) else {
            let message = "a variable in this `config` stands for more than a value, or part of a text";
            return Err(JobError::new(Code::Variable, &spec.file, plugin.place, message)
                .help("write `name: ${NAME}`, with all of the value in the variable, such as `[1, 2]`"));
        };
        plugin.config = written.into_iter().collect();
    }
    Ok(())
}

/// All plugins of a job, each with where its configuration is in the text.
fn plugins<'a>(
    operators: &'a mut IndexMap<String, OperatorSpec>,
    sinks: &'a mut IndexMap<String, SinkSpec>,
) -> Vec<(Vec<String>, &'a mut PluginSpec)> {
    let mut found = Vec::new();
    let mut add = |at: &[&str], kind: OperatorKind, plugin| {
        let field = match kind {
            OperatorKind::Trigger => "window.trigger".to_owned(),
            kind => kind.interface().replace('-', "_"),
        };
        let path = at.iter().copied().chain(field.split('.')).chain(["config"]);
        found.push((path.map(str::to_owned).collect(), plugin));
    };
    for (name, operator) in operators {
        if operator.rules().is_none() {
            operator.plugins_mut().into_iter().for_each(|(kind, plugin)| add(&["operators", name], kind, plugin));
        } else if let StepSpec::Rules(rules) = &mut operator.step {
            for (rule, spec) in &mut rules.rules {
                let plugins = Arc::make_mut(spec).plugins_mut().into_iter();
                plugins.for_each(|(kind, plugin)| add(&["operators", name, "rules", rule], kind, plugin));
            }
        }
    }
    for (name, sink) in sinks {
        sink.plugin.iter_mut().for_each(|plugin| add(&["sinks", name], OperatorKind::Sink, plugin));
    }
    found
}

/// A text as data, with the number of each variable, between marks, in its place. `None` if it is no YAML so.
fn read_marked(text: &str, mark: char) -> Option<Value> {
    let mut numbers = 0..;
    let mut next =
        |_: &str| Ok(numbers.next().map(|number: usize| format!("{mark}{number}{mark}")).unwrap_or_default());
    yaml::read(&substitute(text, &mut next).ok()?.text).ok()
}

/// Tells variables in what was read with marks in their places.
struct Marks<'a> {
    /// `None` where there are no variables.
    mark: Option<char>,
    /// What is between the braces, and the value.
    filled: &'a [(String, String)],
}

impl Marks<'_> {
    /// A text as `literal` and `variable` have its parts; `None` if what is marked is no variable.
    fn map(
        &self,
        text: &str,
        literal: fn(&str) -> String,
        variable: fn(&(String, String)) -> String,
    ) -> Option<String> {
        let Some(mark) = self.mark else { return Some(literal(text)) };
        let part = |(at, part): (usize, &str)| match at % 2 {
            0 => Some(literal(part)),
            _ => Some(variable(self.filled.get(part.parse::<usize>().ok()?)?)),
        };
        text.split(mark).enumerate().map(part).collect()
    }

    /// As it was in the file.
    fn reference(&self, text: &str) -> Option<String> {
        self.map(text, |literal| literal.replace("${", "$${"), |(reference, _)| format!("${{{reference}}}"))
    }

    /// With its variables filled in.
    fn filled(&self, text: &str) -> Option<String> {
        self.map(text, str::to_owned, |(_, value)| value.clone())
    }

    /// What a marked object has under a name with its variables filled in.
    fn find<'v>(&self, marked: &'v Value, name: &str) -> Option<&'v Value> {
        let marked = marked.as_object()?;
        marked.get(name).or_else(|| Some(marked.iter().find(|(key, _)| self.filled(key).as_deref() == Some(name))?.1))
    }

    /// A value as it is written, given what it is with its variables filled in; `None` if these are not of one form.
    fn written(&self, marked: &Value, real: &Value) -> Option<Value> {
        Some(match (marked, real) {
            (Value::String(text), Value::String(_)) => Value::String(self.reference(text)?),
            (Value::String(text), _) => json!({ YAML: self.reference(text)? }),
            (Value::Array(marked), Value::Array(real)) if marked.len() == real.len() => {
                marked.iter().zip(real).map(|(marked, real)| self.written(marked, real)).collect::<Option<_>>()?
            }
            (Value::Object(marked), Value::Object(real)) if marked.len() == real.len() => {
                let written = marked.iter().map(|(name, value)| {
                    Some((self.reference(name)?, self.written(value, real.get(&self.filled(name)?)?)?))
                });
                Value::Object(written.collect::<Option<_>>()?)
            }
            (same, real) if same == real => same.clone(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::job::parse;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "SALT" => "a #c: \\t",
            "LIMIT" => "5",
            "PIN" => "0123456789",
            "LIST" => "[1, x]",
            "ITEMS" => "1, 2",
            "ON" => "true",
            "LONG" => return Some("x".repeat(FILLED_BYTES_MAX / 4)),
            _ => return None,
        };
        Some(value.to_owned())
    }

    /// The configurations of a job's plugins, as they are written and as they are filled in, all of these in each of its places.
    fn configurations(config: &str) -> Result<(Value, Value), JobError> {
        let (plugin, tag) = (format!("{{ plugin: p, config: {config} }}"), "${TAG:t}");
        let text = format!(
            "\u{FEFF}# ${{NOT}} looked at, \u{E000}\nname: j\nsources: {{ in: {{ file: {{ path: '${{IN:in}}' }} }} }}\noperators:\n  \
             a-${{TAG:t}}: {{ input: in, transform: {plugin} }}\n  \
             w: {{ input: in, window: {{ global: {{}}, trigger: {plugin} }}, aggregate: {plugin}, process_window: {plugin} }}\n  \
             r: {{ input: in, key: k, rules: {{ x: {{ transform: {plugin} }}, 'x-{tag}': {{ keyed_process: {plugin} }} }} }}\n\
             sinks: {{ out: {{ input: r, print: {{}}, sink: {plugin} }} }}\n"
        );
        let mut spec = parse(&text, "job", &env, Path::new(""))?;
        let variables = spec.variables.clone();
        let found = plugins(&mut spec.operators, &mut spec.sinks);
        let found: Vec<_> =
            found.into_iter().map(|(_, it)| Value::Object(it.config.clone().into_iter().collect())).collect();
        assert!(found.len() == 7 && found.iter().all(|it| *it == found[0]), "{found:?}");
        let filled = fill(&found[0], &variables).unwrap();
        Ok((found[0].clone(), filled.configuration))
    }

    #[test]
    fn what_is_kept_has_the_variables_and_what_is_filled_in_their_values() {
        let config = r#"{ salt: "${SALT}", plain: '<${PIN}>', n: ${LIMIT}, text: "${LIMIT}", all: [${ON}, { of: ${LIST} }, 1.5, no, ~],
            or: ${NONE:7}, '${LIMIT}th': x, same: x, literal: "$${SALT} $$${LIMIT} \x24{LIMIT} $5", '$yaml': [] }"#;
        let (written, filled) = configurations(config).unwrap();
        assert_eq!(
            written,
            json!({
                "salt": "${SALT}", "plain": "<${PIN}>", "n": { "$yaml": "${LIMIT}" }, "text": "${LIMIT}",
                "all": [{ "$yaml": "${ON}" }, { "of": { "$yaml": "${LIST}" } }, 1.5, "no", null],
                "or": { "$yaml": "${NONE:7}" }, "${LIMIT}th": "x", "same": "x",
                "literal": "$${SALT} $$${LIMIT} $${LIMIT} $5", "$yaml": [],
            })
        );
        assert_eq!(
            filled,
            json!({
                "salt": env("SALT"), "plain": "<0123456789>", "n": 5, "text": "5", "all": [true, { "of": [1, "x"] }, 1.5, "no", null],
                "or": 7, "5th": "x", "same": "x", "literal": "${SALT} $${LIMIT} ${LIMIT} $5", "$yaml": [],
            })
        );
        let without = configurations(r#"{ a: 1, literal: "\x24{A}", yaml: { $yaml: "[2]" } }"#).unwrap();
        let written = json!({ "a": 1, "literal": "$${A}", "yaml": { "$yaml": "[2]" } });
        assert_eq!(without, (written, json!({ "a": 1, "literal": "${A}", "yaml": [2] })));
    }

    #[test]
    fn a_variable_that_is_more_than_a_value_is_refused() {
        for config in ["{ list: [${ITEMS}] }", "{ ${NONE:a: 1, b}: 2 }"] {
            let error = configurations(config).unwrap_err();
            assert_eq!(error.code, Code::Variable, "{error}");
            assert!(error.line == 5 && error.message.contains("more than a value"), "{error}");
        }
    }

    #[test]
    fn filling_in_is_bounded_and_tells_no_value() {
        let variables = Variables::new(env);
        let refused = |configuration: Value| fill(&configuration, &variables).err().unwrap_or_default();
        assert_eq!(refused(json!("${LONG}".repeat(4))), "");
        assert!(refused(json!(["${LONG}".repeat(4), "${LIMIT}"])).contains("4194304 bytes"));
        assert!(refused(json!({ "a": ["${GONE}"] })).contains("`GONE` is not set"));
        assert!(refused(json!("${A")).contains("without `}`") && refused(json!("${}")).contains("no variable"));
        let broken = refused(json!({ "$yaml": "[${SALT}" }));
        assert!(broken.contains("`[${SALT}`") && !broken.contains("#c"), "{broken}");
        let filled = fill(&json!(["${SALT}", "${PIN}", "${LIMIT}"]), &variables).unwrap();
        let said = format!("5 of {:?} and {} and {}", env("SALT").unwrap(), env("SALT").unwrap(), env("PIN").unwrap());
        assert_eq!(filled.hide(said), "5 of \"${SALT}\" and ${SALT} and ${PIN}");
    }
}
