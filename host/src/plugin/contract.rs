//! The contract's types as Rust sees them: generated ones for what guests return, and borrowed twins of the few that carry
//! data into a guest, so that columns are copied once, from Arrow's buffers straight into the guest's memory.
use wasmtime::component::{ComponentType, Lift, Lower};

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package wasmill:host;
        world calls {
            import wasmill:operator/logging@0.1.0;
            import wasmill:operator/map-state@0.1.0;
            import wasmill:operator/types@0.1.0;
        }
    ",
    world: "wasmill:host/calls",
    imports: {
        "wasmill:operator/map-state": trappable,
    },
});

pub use wasmill::operator::{logging, map_state, types};

/// The contract's package.
pub const PACKAGE: &str = "wasmill:operator";

/// The version of the contract this host speaks.
pub const VERSION: &str = "0.1.0";

/// `variable`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct VariableRef<'a> {
    pub offsets: &'a [u32],
    pub data: &'a [u8],
}

/// `values`, borrowed.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub enum ValuesRef<'a> {
    #[component(name = "boolean")]
    Boolean(&'a [u8]),
    #[component(name = "int64")]
    Int64(&'a [i64]),
    #[component(name = "float64")]
    Float64(&'a [f64]),
    #[component(name = "utf8")]
    Utf8(VariableRef<'a>),
    #[component(name = "binary")]
    Binary(VariableRef<'a>),
}

/// `column`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct ColumnRef<'a> {
    pub validity: Option<&'a [u8]>,
    pub values: ValuesRef<'a>,
}

/// `batch`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct BatchRef<'a> {
    pub rows: u32,
    pub timestamps: &'a [i64],
    pub columns: &'a [ColumnRef<'a>],
}

/// `aggregate.accumulators`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct AccumulatorsRef<'a> {
    pub count: u32,
    pub values: ColumnRef<'a>,
}

/// `aggregate.accumulated`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Accumulated {
    pub accumulators: types::Column,
    pub rejections: Vec<types::Rejection>,
    pub measurements: Vec<types::Measurement>,
}

/// `keys`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct KeysRef<'a> {
    pub count: u32,
    pub rows: &'a [u32],
    pub columns: &'a [ColumnRef<'a>],
}

/// `lists`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct ListsRef<'a> {
    pub offsets: &'a [u32],
    pub values: ColumnRef<'a>,
}

/// `state-values`, borrowed.
#[derive(ComponentType, Lower)]
#[component(variant)]
pub enum StateValuesRef<'a> {
    #[component(name = "single")]
    Single(ColumnRef<'a>),
    #[component(name = "many")]
    Many(ListsRef<'a>),
    #[component(name = "by-import")]
    ByImport,
}

/// `timers`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct TimersRef<'a> {
    pub times: &'a [i64],
    pub domains: &'a [types::TimeDomain],
}

/// `windows`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub struct WindowsRef<'a> {
    pub starts: &'a [i64],
    pub ends: &'a [i64],
}

/// `broadcast-process.broadcast-result` and `sink.written`: the same record.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct EmissionAndStates {
    pub emission: types::Emission,
    pub states: Vec<types::StateChange>,
}

/// `trigger.decision`.
#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub enum Decision {
    #[component(name = "continue")]
    Continue,
    #[component(name = "fire")]
    Fire,
    #[component(name = "purge")]
    Purge,
    #[component(name = "fire-and-purge")]
    FireAndPurge,
}

/// `trigger.verdict`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub struct Verdict {
    pub decisions: Vec<Decision>,
    pub states: Vec<types::StateChange>,
    pub timers: types::TimerChanges,
    pub measurements: Vec<types::Measurement>,
}
