//! The columns of operators: keys of one or both inputs, what the plugins read, and what comes out.
use super::{Finder, NodeSchemas};
use crate::{
    job::{
        Code, ColumnRef, JobError, OperatorSpec, SecondSpec, StepSpec,
        graph::Plugin,
        plan::{InputSide, PluginColumns, Role, WINDOW_END, WINDOW_START, rejected_schema},
    },
    model::{Field, Kind, OperatorKind, Schema, Shape, StateKind},
};

/// What stands before a column of the second input that has the name of one of the first.
const SECOND_PREFIX: &str = "second_";

/// An input and its key.
pub(super) struct Keyed<'a> {
    pub(super) schema: Schema,
    pub(super) names: &'a [ColumnRef],
    pub(super) key: Vec<usize>,
}

impl Keyed<'_> {
    fn key_fields(&self) -> impl Iterator<Item = &Field> {
        self.key.iter().map(|&index| &self.schema.fields()[index])
    }

    /// The columns behind the operator, where rows with a null in the key do not come.
    fn fields(&self) -> impl Iterator<Item = Field> {
        let without_nulls = |(index, field): (usize, &Field)| match self.key.contains(&index) {
            true => Field { nullable: false, ..field.clone() },
            false => field.clone(),
        };
        self.schema.fields().iter().enumerate().map(without_nulls)
    }
}

impl Finder<'_> {
    pub(super) fn operator(&self, operator: &OperatorSpec) -> Result<NodeSchemas, JobError> {
        if let Some(rules) = operator.rules() {
            return self.rules(operator, rules);
        }
        let first = self.keyed(InputSide::First, &operator.key)?;
        let second = match &operator.second {
            None => None,
            Some(spec) => {
                let second = self.keyed(InputSide::Second, &spec.key)?;
                self.check_same_key(operator, spec, &first, &second)?;
                Some(second)
            }
        };
        let plugins = self.all_plugin_columns(&first, second.as_ref())?;
        self.check_keyed_state(operator)?;

        let mut outputs = vec![self.main_output(operator, &first, second.as_ref())?];
        for side in self.node().plugins.iter().flat_map(|plugin| &plugin.description.side_outputs) {
            outputs.push(match &side.shape {
                Shape::InputRows => first.schema.clone(),
                Shape::Columns(fields) => self.schema(fields.clone())?,
            });
        }
        outputs.extend(self.node().part.shows_late_rows().then(|| first.schema.clone()));
        outputs.push(rejected_schema());
        let (second, second_key) = second.map(|second| (second.schema, second.key)).unzip();
        let second_key = second_key.unwrap_or_default();
        let role = Role::Operator { step: self.step(operator), plugins, key: first.key, second_key };
        Ok(NodeSchemas { input: Some(first.schema), second, outputs, role })
    }

    pub(super) fn keyed<'a>(&self, side: InputSide, names: &'a [ColumnRef]) -> Result<Keyed<'a>, JobError> {
        let schema = self.union(side)?;
        let mut key = Vec::with_capacity(names.len());
        for column in names {
            let index = self.find(&schema, column, "has the key")?;
            if schema.fields()[index].kind == Kind::Float64 {
                let message = format!("operator `{}` has the key `{}`", self.name(), schema.fields()[index]);
                return Err(self
                    .refuse(Code::KeyType, column.place, message)
                    .help("numbers with a fraction are no keys: use a bool, i64, string or bytes column"));
            }
            key.push(index);
        }
        Ok(Keyed { schema, names, key })
    }

    /// Keys meet if they have the same types in the same order, whatever their names.
    fn check_same_key(
        &self,
        operator: &OperatorSpec,
        spec: &SecondSpec,
        first: &Keyed<'_>,
        second: &Keyed<'_>,
    ) -> Result<(), JobError> {
        let kinds = |keyed: &Keyed<'_>| keyed.key_fields().map(|field| field.kind).collect::<Vec<_>>();
        // A broadcast input has no key, and needs none.
        if spec.key.is_empty() || kinds(first) == kinds(second) {
            return Ok(());
        }
        let written = |keyed: &Keyed<'_>| {
            keyed.key_fields().map(|field| format!("{}: {}", field.name, field.kind)).collect::<Vec<_>>().join(", ")
        };
        let place = spec.key.first().map_or(operator.place, |column| column.place);
        let message = format!(
            "the keys of the inputs of `{}` differ: `{}` in the first, `{}` in the second",
            self.name(),
            written(first),
            written(second)
        );
        Err(self
            .refuse(Code::KeyMismatch, place, message)
            .help("rows meet by keys of the same types in the same order; their names may differ"))
    }

    fn all_plugin_columns(
        &self,
        first: &Keyed<'_>,
        second: Option<&Keyed<'_>>,
    ) -> Result<Vec<PluginColumns>, JobError> {
        let second = second.map(|second| (&second.schema, second.names));
        let mut columns: Vec<PluginColumns> = Vec::new();
        let (mut side, mut aggregated) = (1, None);
        for plugin in &self.node().plugins {
            let results = aggregated.as_ref().filter(|_| plugin.kind == OperatorKind::ProcessWindow);
            columns.push(match results {
                None => self.plugin_columns(plugin, (&first.schema, first.names), second, side)?,
                // The aggregate's results have no key columns: those the plugin asks for are the input's.
                Some(results) => PluginColumns {
                    rule: None,
                    reads: self.reads(plugin, results)?,
                    keys: self.plugin_keys(plugin, &first.schema, first.names)?,
                    kind: plugin.kind,
                    name: plugin.name(),
                    second_reads: Vec::new(),
                    side,
                },
            });
            side += plugin.description.side_outputs.len();
            if let (OperatorKind::Aggregate, Shape::Columns(fields)) = (plugin.kind, &plugin.description.output) {
                aggregated = Some(self.schema(fields.clone())?);
            }
        }
        Ok(columns)
    }

    fn reads(&self, plugin: &Plugin<'_>, results: &Schema) -> Result<Vec<usize>, JobError> {
        let fields = plugin.description.inputs.iter().flatten();
        fields.map(|field| self.read(results, &[], plugin, field)).collect()
    }

    /// State and timers of a broadcast process may be per key, which needs one.
    fn check_keyed_state(&self, operator: &OperatorSpec) -> Result<(), JobError> {
        let StepSpec::BroadcastProcess(spec) = &operator.step else { return Ok(()) };
        let of_task = |kind| matches!(kind, StateKind::OperatorList | StateKind::OperatorUnion | StateKind::Broadcast);
        let states = self.node().plugins.iter().flat_map(|plugin| &plugin.description.states);
        match states.filter(|_| operator.key.is_empty()).find(|state| !of_task(state.kind)) {
            None => Ok(()),
            Some(state) => {
                let message = format!("the plugin of operator `{}` keeps state `{}` per key", self.name(), state.name);
                let help = "write `key:` with the columns whose rows belong together";
                Err(self.refuse(Code::Window, spec.place, message).help(help))
            }
        }
    }

    fn main_output(
        &self,
        operator: &OperatorSpec,
        first: &Keyed<'_>,
        second: Option<&Keyed<'_>>,
    ) -> Result<Schema, JobError> {
        let window = [WINDOW_START, WINDOW_END].map(|name| Field::new(name, Kind::Int64));
        // Of an aggregate and what works on its results, the latter; a trigger puts out nothing.
        let last = self.node().plugins.iter().rfind(|plugin| plugin.kind != OperatorKind::Trigger);
        let declared = last.map(|plugin| &plugin.description.output);
        match (&operator.step, declared, second) {
            (StepSpec::WindowJoin, _, Some(second)) => {
                self.schema(joined(first, second).into_iter().chain(window).collect())
            }
            (StepSpec::IntervalJoin(_), _, Some(second)) => self.schema(joined(first, second)),
            (StepSpec::Aggregate(_), Some(Shape::Columns(fields)), _) => {
                let key = first.key_fields().map(|field| Field { nullable: false, ..field.clone() });
                self.schema(key.chain(window).chain(fields.iter().cloned()).collect())
            }
            (_, Some(Shape::Columns(fields)), _) => self.schema(fields.clone()),
            (_, Some(Shape::InputRows) | None, _) => Ok(first.schema.clone()),
        }
    }

    fn step(&self, operator: &OperatorSpec) -> &'static str {
        match (&operator.step, self.node().plugins.first()) {
            (StepSpec::IntervalJoin(_), _) => "interval-join",
            (_, Some(plugin)) => plugin.kind.interface(),
            (_, None) => "window-join",
        }
    }
}

/// The columns of both, those of the second renamed where the first has one of their name.
fn joined(first: &Keyed<'_>, second: &Keyed<'_>) -> Vec<Field> {
    let renamed = |field: Field| match first.schema.index_of(&field.name) {
        Some(_) => Field { name: format!("{SECOND_PREFIX}{}", field.name).into(), ..field },
        None => field,
    };
    first.fields().chain(second.fields().map(renamed)).collect()
}
