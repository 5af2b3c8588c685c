//! What an instance finds behind WASI: the time and randomness of the call it is in, or those it is granted, and the lines it has
//! begun to write. Must not know the engine.
use std::sync::Arc;

use crate::{
    model::Clock,
    plugin::{CallMoment, guest::LOG_LINE_BYTES_MAX},
};

/// Bytes a guest may write to a stream at once.
pub(super) const WRITE_BYTES_MAX: usize = 64 << 10;

/// Random bytes a guest may ask for at once.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// A millisecond, in ns.
pub(super) const MILLISECOND_NS: u64 = 1_000_000;

/// The seed where there is no call.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a guest gets beyond what follows from its calls. By default nothing.
#[derive(Clone, Default)]
pub struct Grants {
    /// A clock to read.
    pub clock: Option<Arc<dyn Clock>>,
    /// Random numbers of the operating system.
    pub randomness: bool,
}

/// Why a guest does not get what it asks for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in super::super) struct Refused(pub(in super::super) String);

/// A stream a guest writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// The state of an instance.
pub(in super::super) struct Wasi {
    grants: Grants,
    /// Whether it was called yet: before, nothing is granted, so that it starts in the same way wherever it does.
    called: bool,
    time_ms: u64,
    /// The state of a SplitMix64.
    random: u64,
    /// What was written to each stream since its last line ended.
    lines: [Vec<u8>; 2],
}

impl Wasi {
    pub(in super::super) fn new(grants: Grants) -> Wasi {
        Wasi { grants, called: false, time_ms: 0, random: SEED, lines: [Vec::new(), Vec::new()] }
    }

    /// A call begins. One that has no moment has the same time and seed as the start: 0 and a constant.
    pub(in super::super) fn begin(&mut self, moment: Option<CallMoment>) {
        self.called = true;
        (self.time_ms, self.random) = match moment {
            Some(moment) => (u64::try_from(moment.processing_time).unwrap_or(0), moment.seed),
            None => (0, SEED),
        };
    }

    fn clock(&self) -> Option<&dyn Clock> {
        self.grants.clock.as_deref().filter(|_| self.called)
    }

    /// In ms since 1970-01-01 UTC.
    pub(super) fn wall_clock_ms(&self) -> u64 {
        self.clock().map_or(self.time_ms, |clock| u64::try_from(clock.now_ms()).unwrap_or(0))
    }

    /// In ns since some time.
    pub(super) fn monotonic_clock_ns(&self) -> u64 {
        match self.clock() {
            Some(clock) => u64::try_from(clock.monotonic().as_nanos()).unwrap_or(u64::MAX),
            None => self.time_ms.saturating_mul(MILLISECOND_NS),
        }
    }

    pub(super) fn random_u64(&mut self) -> Result<u64, Refused> {
        let mut bytes = [0; size_of::<u64>()];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn random_bytes(&mut self, length: u64) -> Result<Vec<u8>, Refused> {
        if length > RANDOM_BYTES_MAX {
            return Err(Refused(format!("it asks for {length} random bytes at once, {RANDOM_BYTES_MAX} are allowed")));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Refused> {
        if self.called && self.grants.randomness {
            return getrandom::fill(bytes).map_err(|error| Refused(format!("there are no random numbers: {error}")));
        }
        for chunk in bytes.chunks_mut(size_of::<u64>()) {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }

    /// Adds to the line that was begun what has a line feed at its end at most; gives the line if it ends. What is too long is cut off.
    pub(in super::super) fn written(&mut self, stream: Stream, piece: &[u8]) -> Option<Vec<u8>> {
        let begun = &mut self.lines[stream as usize];
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        begun.extend_from_slice(&text[..text.len().min(LOG_LINE_BYTES_MAX - begun.len())]);
        (text.len() < piece.len()).then(|| std::mem::take(begun))
    }

    /// The line that was begun; empty if there is none.
    pub(in super::super) fn rest(&mut self, stream: Stream) -> Vec<u8> {
        std::mem::take(&mut self.lines[stream as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NO_WATERMARK, SystemClock};

    fn moment(processing_time: i64, seed: u64) -> Option<CallMoment> {
        Some(CallMoment { processing_time, watermark: NO_WATERMARK, seed })
    }

    /// Both clocks, a number, and bytes.
    fn seen(wasi: &mut Wasi) -> (u64, u64, u64, Vec<u8>) {
        let random = (wasi.random_u64().unwrap(), wasi.random_bytes(11).unwrap());
        (wasi.wall_clock_ms(), wasi.monotonic_clock_ns(), random.0, random.1)
    }

    #[test]
    fn the_same_moment_is_the_same_again_and_another_is_not() {
        let mut wasi = Wasi::new(Grants::default());
        let start = seen(&mut wasi);
        assert_eq!((start.0, start.1), (0, 0));
        wasi.begin(moment(1234, 7));
        let first = seen(&mut wasi);
        assert_eq!((first.0, first.1), (1234, 1_234_000_000));
        let more = seen(&mut wasi);
        assert!(more.0 == first.0 && more.2 != first.2 && more.3 != first.3);
        wasi.begin(moment(1234, 8));
        assert_ne!(seen(&mut wasi).2, first.2);
        let mut other = Wasi::new(Grants::default());
        other.begin(moment(1234, 7));
        assert_eq!(seen(&mut other), first);
        other.begin(moment(-5, 7));
        assert_eq!(other.wall_clock_ms(), 0);
        other.begin(None);
        assert_eq!(seen(&mut other), start);
    }

    #[test]
    fn nothing_is_granted_before_the_first_call() {
        let grants = Grants { clock: Some(Arc::new(SystemClock::new())), randomness: true };
        let mut wasi = Wasi::new(grants);
        let start = seen(&mut wasi);
        assert_eq!(start, seen(&mut Wasi::new(Grants::default())));
        wasi.begin(None);
        let (wall, _, number, bytes) = seen(&mut wasi);
        // Later than this was written.
        assert!(wall > 1_700_000_000_000 && number != start.2 && bytes != start.3);
    }

    #[test]
    fn too_many_random_bytes_are_refused() {
        let mut wasi = Wasi::new(Grants::default());
        assert_eq!(wasi.random_bytes(RANDOM_BYTES_MAX).unwrap().len() as u64, RANDOM_BYTES_MAX);
        assert!(wasi.random_bytes(u64::MAX).unwrap_err().to_string().contains("random bytes at once"));
    }

    #[test]
    fn lines_are_put_together_and_long_ones_cut_off() {
        let mut wasi = Wasi::new(Grants::default());
        let mut write = |stream, piece: &[u8]| wasi.written(stream, piece);
        assert_eq!(write(Stream::Out, b"on"), None);
        assert_eq!(write(Stream::Error, b"other\n").unwrap(), b"other");
        assert_eq!(write(Stream::Out, b"e\n").unwrap(), b"one");
        assert_eq!(write(Stream::Out, &[b'x'; LOG_LINE_BYTES_MAX + 1]), None);
        assert_eq!(write(Stream::Out, b"y\n").unwrap(), [b'x'; LOG_LINE_BYTES_MAX]);
        assert_eq!(write(Stream::Out, b"rest"), None);
        assert_eq!([Stream::Out, Stream::Error, Stream::Out].map(|stream| wasi.rest(stream)), [&b"rest"[..], b"", b""]);
    }
}
