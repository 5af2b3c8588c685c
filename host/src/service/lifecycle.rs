//! The states of a job on a server, and what leads from one to another. Pure, and the only place that decides it; must not know how
//! anything is done. `docs/jobs.md` shows it.
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its plugins are prepared, or its tasks are about to run.
    Starting,
    /// Its tasks run.
    Running,
    /// It has failed, and waits to start again from its latest checkpoint.
    Restarting,
    /// It ends with a last checkpoint.
    Stopping,
    /// It ends where it is.
    Cancelling,
    /// It has ended with a last checkpoint, by request.
    Stopped,
    /// It was ended where it was; its latest checkpoint stays.
    Cancelled,
    /// It has failed, and does not start again by itself.
    Failed,
    /// Its input has ended, or was declared to have, and all of it is processed.
    Finished,
}

/// What a job is to do, whatever happens to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// Run: a server that starts goes on with it.
    Running,
    /// Nothing, until it is asked to.
    Ended,
}

/// What somebody asks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// End with a last checkpoint or a savepoint.
    Stop,
    /// End where it is.
    Cancel,
    /// Start again, from the latest checkpoint.
    Restart,
    /// A savepoint, and go on.
    Savepoint,
    /// A checkpoint now.
    Checkpoint,
    /// Go on with another parallelism.
    Rescale,
    /// Another plugin or configuration of an operator, in force or beside what is, and go on.
    Change,
    /// Be forgotten.
    Delete,
}

/// What leads from state to state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Somebody asks.
    Request(Request),
    /// The server ends, and the job is to go on with the next.
    Suspend,
    /// All tasks run.
    Started,
    /// It has failed, and will start again.
    Restarting,
    /// It has ended with a last checkpoint, as it was told to.
    Stopped,
    /// It has ended with a last checkpoint to go on with another parallelism.
    Rescaled,
    /// Nothing of it runs any more, as was asked for.
    Cancelled,
    /// It has failed for good.
    Failed,
    /// There is nothing left to do.
    Finished,
}

/// What a job does and is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Phase {
    /// What it does.
    pub state: State,
    /// What it is to do.
    pub desired: Desired,
}

/// A request, or an event, that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal {
    /// The state.
    pub state: State,
}

impl State {
    /// Every state.
    pub const ALL: [State; 9] = [
        State::Starting,
        State::Running,
        State::Restarting,
        State::Stopping,
        State::Cancelling,
        State::Stopped,
        State::Cancelled,
        State::Failed,
        State::Finished,
    ];

    /// Whether nothing of it runs, and nothing happens to it unless somebody asks.
    pub fn is_terminal(self) -> bool {
        matches!(self, State::Stopped | State::Cancelled | State::Failed | State::Finished)
    }

    /// What may be asked of a job in this state.
    pub fn allows(self) -> impl Iterator<Item = Request> {
        let phase = Phase { state: self, desired: Desired::Running };
        Request::ALL.into_iter().filter(move |request| phase.after(Step::Request(*request)).is_ok())
    }
}

impl Request {
    /// Every request.
    pub const ALL: [Request; 8] = [
        Request::Stop,
        Request::Cancel,
        Request::Restart,
        Request::Savepoint,
        Request::Checkpoint,
        Request::Rescale,
        Request::Change,
        Request::Delete,
    ];
}

impl Phase {
    /// Of a job that is about to start.
    pub const STARTING: Phase = Phase { state: State::Starting, desired: Desired::Running };

    /// The phase a step leads to.
    pub fn after(self, step: Step) -> Result<Phase, Illegal> {
        use Request::{Cancel, Change, Checkpoint, Delete, Rescale, Restart, Savepoint, Stop};
        use State::{Cancelled, Cancelling, Failed, Finished, Restarting, Running, Starting, Stopped, Stopping};
        let ended = |state| Phase { state, desired: Desired::Ended };
        let to_run = |state| Phase { state, desired: Desired::Running };
        let same = |state| Phase { state, ..self };
        Ok(match (self.state, step) {
            (Running, Step::Request(Stop)) => ended(Stopping),
            (Running, Step::Request(Rescale)) | (Running, Step::Suspend) => same(Stopping),
            (Running, Step::Request(Savepoint | Checkpoint | Change)) => self,
            (Starting | Running | Restarting | Stopping, Step::Request(Cancel)) => ended(Cancelling),
            (Stopped | Cancelled | Failed, Step::Request(Restart)) => to_run(Starting),
            (Stopped | Cancelled | Failed | Finished, Step::Request(Delete)) => ended(self.state),
            (Starting | Restarting, Step::Started) => same(Running),
            // What it was stopped for has failed: it goes on, and who wanted it to stop hears of it.
            (Starting | Running | Restarting | Stopping, Step::Restarting) => to_run(Restarting),
            // After a failure on the way out.
            (Stopping, Step::Started) => to_run(Running),
            (Stopping, Step::Stopped) => same(Stopped),
            // A stop that was given up on has taken effect after all.
            (Running, Step::Stopped) => ended(Stopped),
            (Stopping, Step::Rescaled) => to_run(Starting),
            // Who cancels does not care for how else it ends.
            (Cancelling, Step::Cancelled | Step::Stopped | Step::Failed | Step::Finished) => ended(Cancelled),
            (Starting | Running | Restarting | Stopping, Step::Failed) => ended(Failed),
            (Starting | Running | Restarting | Stopping, Step::Finished) => ended(Finished),
            _ => return Err(Illegal { state: self.state }),
        })
    }

    /// The phase of a job whose server has died, or ended, in this one.
    pub fn reopened(self) -> Phase {
        let state = match (self.desired, self.state) {
            (Desired::Running, _) => return Phase::STARTING,
            (_, State::Cancelling) => State::Cancelled,
            (_, state) if state.is_terminal() => state,
            _ => State::Stopped,
        };
        Phase { state, desired: Desired::Ended }
    }
}

/// The word of the wire.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [(&str, Step); 16] = [
        ("stop", Step::Request(Request::Stop)),
        ("cancel", Step::Request(Request::Cancel)),
        ("restart", Step::Request(Request::Restart)),
        ("savepoint", Step::Request(Request::Savepoint)),
        ("checkpoint", Step::Request(Request::Checkpoint)),
        ("rescale", Step::Request(Request::Rescale)),
        ("change", Step::Request(Request::Change)),
        ("delete", Step::Request(Request::Delete)),
        ("suspend", Step::Suspend),
        ("started", Step::Started),
        ("failing", Step::Restarting),
        ("stopped", Step::Stopped),
        ("rescaled", Step::Rescaled),
        ("cancelled", Step::Cancelled),
        ("failed", Step::Failed),
        ("finished", Step::Finished),
    ];

    /// Every state with every step that it allows, and what comes of it; `+` is a job that is to run.
    const TABLE: &str = "
        starting cancel cancelling-
        starting started running=
        starting failing restarting+
        starting failed failed-
        starting finished finished-
        running stop stopping-
        running cancel cancelling-
        running savepoint running=
        running checkpoint running=
        running rescale stopping=
        running change running=
        running suspend stopping=
        running failing restarting+
        running stopped stopped-
        running failed failed-
        running finished finished-
        restarting cancel cancelling-
        restarting started running=
        restarting failing restarting+
        restarting failed failed-
        restarting finished finished-
        stopping cancel cancelling-
        stopping started running+
        stopping failing restarting+
        stopping stopped stopped=
        stopping rescaled starting+
        stopping failed failed-
        stopping finished finished-
        cancelling stopped cancelled-
        cancelling cancelled cancelled-
        cancelling failed cancelled-
        cancelling finished cancelled-
        stopped restart starting+
        stopped delete stopped-
        cancelled restart starting+
        cancelled delete cancelled-
        failed restart starting+
        failed delete failed-
        finished delete finished-";

    #[test]
    fn every_state_allows_what_the_table_says_and_nothing_else() {
        for desired in [Desired::Running, Desired::Ended] {
            let mut found = String::new();
            for state in State::ALL {
                for (name, step) in STEPS {
                    let Ok(next) = Phase { state, desired }.after(step) else { continue };
                    let kept = TABLE.contains(&format!("{state} {name} {}=", next.state));
                    let sign = match next.desired {
                        same if kept && same == desired => '=',
                        Desired::Running => '+',
                        Desired::Ended => '-',
                    };
                    found += &format!("\n        {state} {name} {}{sign}", next.state);
                }
            }
            assert_eq!(found, TABLE, "{desired:?}");
        }
    }

    #[test]
    fn what_is_not_terminal_is_left_and_what_is_only_by_request() {
        for state in State::ALL {
            let leads = |step: &Step| Phase { state, desired: Desired::Running }.after(*step).is_ok();
            let happens = STEPS.iter().any(|(_, step)| !matches!(step, Step::Request(_)) && leads(step));
            assert_eq!(happens, !state.is_terminal(), "{state}");
        }
        assert_eq!(State::Stopped.allows().collect::<Vec<_>>(), [Request::Restart, Request::Delete]);
    }

    #[test]
    fn a_server_that_starts_goes_on_with_what_is_to_run_and_with_nothing_else() {
        for state in State::ALL {
            assert_eq!(Phase { state, desired: Desired::Running }.reopened(), Phase::STARTING);
            let ended = Phase { state, desired: Desired::Ended }.reopened();
            assert!(ended.state.is_terminal() && ended.desired == Desired::Ended, "{state}");
            assert!(!state.is_terminal() || ended.state == state);
        }
        assert_eq!(Phase { state: State::Cancelling, desired: Desired::Ended }.reopened().state, State::Cancelled);
    }
}
