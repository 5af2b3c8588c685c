//! The columns of rules: what each reads, and the one output that all of them write.
use super::{Finder, NodeSchemas, operator::Keyed};
use crate::{
    job::{
        Code, JobError, OperatorSpec, RulesSpec,
        plan::{InputSide, Role, rejected_schema},
    },
    model::{OperatorKind, Shape},
};

impl Finder<'_> {
    /// All rules write the same columns.
    pub(super) fn rules(&self, operator: &OperatorSpec, rules: &RulesSpec) -> Result<NodeSchemas, JobError> {
        let Keyed { schema: input, names, key } = self.keyed(InputSide::First, &operator.key)?;
        let declared = rules.output.clone().map(|fields| self.schema(fields)).transpose()?;
        let mut output = declared.map(|schema| ("`output`".to_owned(), schema));
        let mut plugins = Vec::new();
        for plugin in &self.node().plugins {
            // Rows whose key has a null are rejected before a keyed process sees them, not before a transform does.
            let never_null = if plugin.kind == OperatorKind::KeyedProcess { names } else { &[] };
            plugins.push(self.plugin_columns(plugin, (&input, never_null), None, 1)?);
            let written = match &plugin.description.output {
                Shape::InputRows => input.clone(),
                Shape::Columns(fields) => self.schema(fields.clone())?,
            };
            let rule = plugin.rule.unwrap_or_default();
            match &output {
                None => output = Some((format!("rule `{rule}`"), written)),
                Some((_, schema)) if *schema == written => {}
                Some((first, schema)) => {
                    let message =
                        format!("rule `{rule}` of operator `{}` writes other columns than {first}", self.name());
                    let help =
                        format!("it writes {written}, {first} has {schema}; rules of one operator write the same");
                    return Err(self.refuse(Code::Rules, plugin.place, message).help(help));
                }
            }
        }
        // Without rules there is an `output`.
        let output = output.map_or_else(|| input.clone(), |(_, schema)| schema);
        let role = Role::Operator { step: "rules", plugins, key, second_key: Vec::new() };
        Ok(NodeSchemas { input: Some(input), second: None, outputs: vec![output, rejected_schema()], role })
    }
}
