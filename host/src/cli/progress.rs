//! How far a running job is, on a terminal; nothing where there is none.
use std::{io::IsTerminal, sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    control::{JobReport, JobView, NodeReport},
    model::{Clock, WATERMARK_END},
};

/// Time between two looks.
const REFRESH: Duration = Duration::from_millis(250);

pub(super) struct Progress;

impl Progress {
    /// Shows the job's progress until it is aborted.
    pub(super) async fn show(view: JobView, clock: Arc<dyn Clock>) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let line = Line(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
            line.0.set_style(style);
        }
        let (mut records, mut at) = (0, clock.monotonic());
        loop {
            clock.sleep_until(at + REFRESH).await;
            let now = clock.monotonic();
            let nodes = view.nodes();
            let read = read(&nodes);
            let rate = (read - records) as f64 / (now - at).as_secs_f64();
            (records, at) = (read, now);
            line.0.set_message(format!(
                "{} records, {}/s{}",
                grouped(read),
                grouped(rate as u64),
                event_time(&nodes, &*clock)
            ));
            line.0.tick();
        }
    }

    /// What was done in all, on a terminal.
    pub(super) fn last(report: &JobReport) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        for node in &report.nodes {
            let mut line = format!("{}: {} in, {} out", node.name, grouped(node.records_in), grouped(node.records_out));
            for (count, what) in [
                (node.late, "late"),
                (node.rejected, "rejected"),
                (node.failed, "failed"),
                (node.circuits_opened, "times circuit open"),
                (node.guests_replaced, "guests replaced"),
            ] {
                if count > 0 {
                    line.push_str(&format!(", {} {what}", grouped(count)));
                }
            }
            eprintln!("{line}");
        }
    }
}

/// Removes itself from the terminal.
struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Records read by sources: those count what comes from outside as coming in, before any node has an input.
fn read(nodes: &[NodeReport]) -> u64 {
    nodes.first().map_or(0, |node| node.records_in)
}

fn event_time(nodes: &[NodeReport], clock: &dyn Clock) -> String {
    match nodes.iter().filter_map(|node| node.watermark).min() {
        None => String::new(),
        Some(WATERMARK_END) => ", at the end of event time".into(),
        Some(watermark) => {
            let time = Duration::from_millis(u64::try_from(watermark).unwrap_or(0));
            let lag = Duration::from_millis(u64::try_from(clock.now_ms().saturating_sub(watermark)).unwrap_or(0));
            let lag = Duration::from_secs(lag.as_secs());
            format!(
                ", watermark {}, {} behind",
                humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + time),
                humantime::format_duration(lag)
            )
        }
    }
}

/// 1234567 as `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (1_234_567, "1 234 567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
