//! Buffered sink: keeps counts back until there are enough of them, and writes these together.
//!
//! Guarantees: what is kept back is state, so a restart neither loses nor repeats it. Must not know: where counts are written.

use wasmill_sdk::prelude::*;

/// How much is written together.
#[config]
struct Settings {
    /// So many records.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1))]
    size: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Record, Debug, Clone, PartialEq)]
struct Count<'a> {
    word: &'a str,
    count: i64,
}

#[state(postcard)]
struct Kept {
    timestamp_ms: i64,
    word: String,
    count: i64,
}

#[derive(States)]
struct Buffer<'a> {
    kept: OperatorListState<'a, Kept>,
}

struct BufferedSink {
    size: usize,
}

fn flush(buffer: &mut Buffer, out: &mut Output<Count>) {
    for kept in buffer.kept.drain() {
        out.emit_at(kept.timestamp_ms, Count { word: &kept.word, count: kept.count });
    }
}

#[sink]
impl BufferedSink {
    fn new(settings: Settings) -> Result<Self, String> {
        match settings.size {
            0 => Err("`size` has to be at least 1".into()),
            size => Ok(Self { size }),
        }
    }

    fn write(&mut self, count: Count, buffer: &mut Buffer, context: &Context, out: &mut Output<Count>) {
        let timestamp_ms = context.timestamp_ms();
        buffer.kept.push(Kept { timestamp_ms, word: count.word.into(), count: count.count });
        if buffer.kept.len() >= self.size {
            flush(buffer, out);
        }
    }

    fn finish(&mut self, buffer: &mut Buffer, out: &mut Output<Count>) {
        flush(buffer, out);
    }
}

wasmill_sdk::export!(sink: BufferedSink);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::SinkHarness;

    #[test]
    fn counts_are_written_in_blocks_across_a_restart() {
        let mut harness = SinkHarness::<BufferedSink>::configured(r#"{"size": 3}"#).expect("a size");
        let count = |count| Count { word: "w", count };
        let result = harness.run_at([1, 2, 3, 4].map(|time| (time, count(time))));
        assert_eq!(result.emitted::<Count>(), [1, 2, 3].map(count));
        assert_eq!(result.timestamps_ms(), [1, 2, 3]);
        let snapshot = harness.snapshot();
        harness.run_at([(5, count(5))]);
        harness.restore(&snapshot);
        assert_eq!(harness.finish().emitted::<Count>(), [count(4)]);
        assert!(harness.finish().emitted::<Count>().is_empty());
    }
}
