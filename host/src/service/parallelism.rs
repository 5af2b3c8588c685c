//! A parallelism other than that of the job's text. Pure.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{job::JobSpec, model::MAX_PARALLELISM_LIMIT};

/// Numbers of subtasks that take the place of those in a job's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parallelism {
    /// Of everything that has none of its own.
    #[serde(rename = "parallelism", default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u32>,
    /// Of sources, operators and sinks, by name.
    #[serde(rename = "operators", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<String, u32>,
}

impl Parallelism {
    /// These, and for the rest those of `before`.
    pub(super) fn over(mut self, before: &Parallelism) -> Parallelism {
        self.job = self.job.or(before.job);
        for (name, parallelism) in &before.nodes {
            self.nodes.entry(name.clone()).or_insert(*parallelism);
        }
        self
    }

    /// Puts them into a job. Fails with what is wrong.
    pub(super) fn apply(&self, spec: &mut JobSpec) -> Result<(), String> {
        for parallelism in self.job.iter().chain(self.nodes.values()) {
            if !(1..=MAX_PARALLELISM_LIMIT).contains(parallelism) {
                return Err(format!("parallelism {parallelism}: it must be from 1 to {MAX_PARALLELISM_LIMIT}"));
            }
        }
        spec.parallelism = self.job.unwrap_or(spec.parallelism);
        for (name, parallelism) in &self.nodes {
            let (source, sink) = (spec.sources.get_mut(name), spec.sinks.get_mut(name));
            let operator = spec.operators.get_mut(name);
            if operator.as_ref().is_some_and(|operator| operator.is_window_of_all() && *parallelism > 1) {
                return Err(format!("`{name}` has windows without key, which are in one subtask"));
            }
            let own = source.map(|source| &mut source.parallelism);
            let own = own.or(operator.map(|operator| &mut operator.parallelism));
            match own.or(sink.map(|sink| &mut sink.parallelism)) {
                Some(own) => *own = Some(*parallelism),
                None => return Err(format!("the job has no source, operator or sink `{name}`")),
            }
        }
        for (name, operator) in &spec.operators {
            let own = operator.parallelism.unwrap_or(spec.parallelism);
            if !operator.key.is_empty() && own > spec.max_parallelism {
                let max = spec.max_parallelism;
                return Err(format!(
                    "the keyed operator `{name}` would have parallelism {own}, above max_parallelism {max}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::job::parse;

    const JOB: &str = "
name: j
parallelism: 2
max_parallelism: 8
sources: { in: { file: { path: in } } }
operators:
  keyed: { input: in, key: line, keyed_process: { plugin: p } }
  all: { input: in, window: { tumbling: 1s }, aggregate: { plugin: p } }
sinks: { out: { input: keyed, print: {} } }
";

    fn applied(job: Option<u32>, nodes: &[(&str, u32)]) -> Result<Vec<u32>, String> {
        let mut spec = parse(JOB, "job", &|_| None, Path::new("")).unwrap();
        let nodes = nodes.iter().map(|(name, parallelism)| ((*name).to_owned(), *parallelism)).collect();
        Parallelism { job, nodes }.apply(&mut spec)?;
        let own = [spec.sources["in"].parallelism, spec.operators["keyed"].parallelism, spec.sinks["out"].parallelism];
        Ok(own.into_iter().map(|own| own.unwrap_or(spec.parallelism)).collect())
    }

    #[test]
    fn a_job_or_some_of_its_nodes_get_another_parallelism() {
        assert_eq!(applied(None, &[]), Ok(vec![2, 2, 2]));
        assert_eq!(applied(Some(3), &[("in", 1), ("out", 4)]), Ok(vec![1, 3, 4]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (job, nodes, what) in [
            (Some(0), vec![], "from 1 to"),
            (None, vec![("on", 1)], "no source, operator or sink `on`"),
            (None, vec![("all", 2)], "one subtask"),
            (Some(9), vec![], "`keyed` would have parallelism 9, above max_parallelism 8"),
        ] {
            let error = applied(job, &nodes).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        assert_eq!(applied(Some(9), &[("keyed", 8)]), Ok(vec![9, 8, 9]));
    }

    #[test]
    fn later_changes_are_over_earlier_ones() {
        let nodes = |nodes: &[(&str, u32)]| nodes.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        let before = Parallelism { job: Some(2), nodes: nodes(&[("a", 1), ("b", 1)]) };
        let after = Parallelism { job: None, nodes: nodes(&[("b", 5)]) }.over(&before);
        assert_eq!(after, Parallelism { job: Some(2), nodes: nodes(&[("a", 1), ("b", 5)]) });
    }
}
