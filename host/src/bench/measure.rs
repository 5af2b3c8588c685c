//! What a run costs: wall time, the process's own time on processors, and memory.
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::Run;
use crate::{
    control::JobReport,
    model::{Clock, SystemClock},
};

/// The state of the process before a run.
pub struct Start {
    clock: SystemClock,
    cpu: Duration,
}

/// What a run cost, and what came out of it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// `wasmill` or `native`.
    pub engine: &'static str,
    /// From the first event to the last output.
    pub wall: Duration,
    /// User and system time of the whole process meanwhile.
    pub cpu: Duration,
    /// Records put out.
    pub outputs: u64,
    /// Their checksum, if asked for.
    pub checksum: Option<String>,
    /// Of each checkpoint: how long it took, and the bytes it wrote.
    pub checkpoints: Vec<(Duration, u64)>,
    /// Latency from source to sink: median, 99th and 99.9th percentile, longest.
    pub latency: Option<[Duration; 4]>,
}

/// What the process has used so far.
pub(super) fn usage() -> libc::rusage {
    // SAFETY: all-zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a `rusage` to write to. The call cannot fail with these arguments.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    usage
}

/// Memory of the process now, in MB; 0 where the system does not say.
pub(super) fn resident_mb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    // SAFETY: `sysconf` only reads, and knows this name.
    (pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64) >> 20
}

/// User and system time of the process.
pub(super) fn cpu() -> Duration {
    let usage = usage();
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

impl Start {
    /// Begins to measure.
    pub fn now() -> Start {
        Start { clock: SystemClock::new(), cpu: cpu() }
    }

    /// What it took until now.
    pub(super) fn cost(&self, engine: &'static str, outputs: u64, checksum: Option<String>) -> Measured {
        Measured {
            engine,
            wall: self.clock.monotonic(),
            cpu: cpu() - self.cpu,
            outputs,
            checksum,
            checkpoints: Vec::new(),
            latency: None,
        }
    }

    /// What it took to run a job; `None` if its sink did not count.
    pub fn end(self, run: &Run, report: &JobReport) -> Option<Measured> {
        let sink = &report.sinks.first()?.summary;
        let checksum = sink.get("checksum").and_then(Value::as_str).map(str::to_owned);
        let mut measured = self.cost("wasmill", sink.get("records")?.as_u64()?, checksum);
        measured.wall = report.elapsed;
        measured.checkpoints = report.checkpoints.costs();
        if run.rate.is_some() {
            let quantile = |share| report.latency.quantile(share);
            measured.latency = quantile(0.5)
                .zip(quantile(0.99))
                .zip(quantile(0.999).zip(quantile(1.0)))
                .map(|((a, b), (c, d))| [a, b, c, d]);
        }
        Some(measured)
    }
}

/// To so many digits after the point.
pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// A result, in the order it is printed.
#[derive(Serialize)]
struct Line<'a> {
    workload: &'a str,
    engine: &'a str,
    parallelism: u32,
    events: u64,
    wall_s: f64,
    events_per_s: u64,
    cpu_s: f64,
    cpu_s_per_million: f64,
    peak_rss_mb: i64,
    outputs: u64,
    checksum: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoints: Option<Checkpoints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<LatencyMs>,
}

#[derive(Serialize)]
struct Checkpoints {
    count: usize,
    ms_median: f64,
    ms_max: f64,
    bytes_median: u64,
    bytes_max: u64,
}

impl Checkpoints {
    fn of(costs: &[(Duration, u64)]) -> Option<Checkpoints> {
        let (mut times, mut bytes): (Vec<Duration>, Vec<u64>) = costs.iter().copied().unzip();
        times.sort_unstable();
        bytes.sort_unstable();
        let ms = |duration: Duration| rounded(duration.as_secs_f64() * 1e3, 3);
        Some(Checkpoints {
            count: costs.len(),
            ms_median: ms(times[times.len().checked_sub(1)? / 2]),
            ms_max: ms(*times.last()?),
            bytes_median: bytes[(bytes.len() - 1) / 2],
            bytes_max: *bytes.last()?,
        })
    }
}

#[derive(Serialize)]
struct LatencyMs {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Measured {
    /// As one line of JSON.
    pub fn json(&self, run: &Run) -> String {
        let (wall, cpu) = (self.wall.as_secs_f64(), self.cpu.as_secs_f64());
        let ms = |duration: Duration| rounded(duration.as_secs_f64() * 1e3, 3);
        let line = Line {
            workload: run.workload.name(),
            engine: self.engine,
            parallelism: run.parallelism,
            events: run.events,
            wall_s: rounded(wall, 3),
            events_per_s: (run.events as f64 / wall).round() as u64,
            cpu_s: rounded(cpu, 3),
            cpu_s_per_million: rounded(cpu * 1e6 / run.events as f64, 4),
            peak_rss_mb: usage().ru_maxrss / 1024,
            outputs: self.outputs,
            checksum: self.checksum.as_deref(),
            checkpoints: Checkpoints::of(&self.checkpoints),
            rate: run.rate,
            latency_ms: self.latency.map(|[p50, p99, p999, max]| LatencyMs {
                p50: ms(p50),
                p99: ms(p99),
                p999: ms(p999),
                max: ms(max),
            }),
        };
        // A struct of numbers and strings always has a JSON form.
        serde_json::to_string(&line).unwrap_or_default()
    }
}
