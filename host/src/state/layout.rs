//! Where in the record of a row the parts of its states lie. Decides nothing else.
use super::{list::SHORT_BYTES_MAX, records::LINE_BYTES};
use crate::model::{Kind, StateDescription, StateKind};

/// The fewest bytes of a list that lie in a record.
const SHORT_BYTES_MIN: usize = 24;

/// The parts of a state in a record, by their places. Its flags are a byte at the state's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing is kept in the table.
    Absent,
    Boolean(usize),
    Int64(usize),
    Float64(usize),
    /// Kept outside.
    Utf8,
    Binary,
    Map,
    List {
        length_at: usize,
        at: usize,
        short_bytes: usize,
    },
}

/// The record of a row.
pub(super) struct Layout {
    /// Its bytes.
    pub(super) length: usize,
    pub(super) slots: Vec<Slot>,
    /// Where it is said when each state was last written, for those that expire.
    pub(super) times: Vec<Option<usize>>,
}

impl Layout {
    /// Of declared states; maps are left out where they are kept elsewhere. Records with lists fill whole lines of a processor's cache,
    /// what is left of these is the lists'.
    pub(super) fn of(states: &[StateDescription], maps: bool) -> Layout {
        let mut end = states.len();
        let mut place = |bytes: usize| {
            end = end.next_multiple_of(bytes) + bytes;
            end - bytes
        };
        let mut slots: Vec<Slot> = states.iter().map(|state| slot(state, maps)).collect();
        for slot in &mut slots {
            match slot {
                Slot::Boolean(at) | Slot::List { length_at: at, .. } => *at = place(1),
                _ => {}
            }
        }
        for slot in &mut slots {
            if let Slot::Int64(at) | Slot::Float64(at) = slot {
                *at = place(8);
            }
        }
        let is_timed = |state: &StateDescription| state.time_to_live.is_some() && state.kind != StateKind::Map;
        let times = states.iter().map(|state| is_timed(state).then(|| place(8))).collect();
        let mut length = end.next_multiple_of(8);
        let lists = slots.iter().filter(|slot| matches!(slot, Slot::List { .. })).count();
        if lists > 0 {
            let all = (length + lists * SHORT_BYTES_MIN).next_multiple_of(LINE_BYTES);
            let share = ((all - length) / lists / 8 * 8).min(SHORT_BYTES_MAX);
            for slot in &mut slots {
                if let Slot::List { at, short_bytes, .. } = slot {
                    (*at, *short_bytes) = (length, share);
                    length += share;
                }
            }
            length = all;
        }
        Layout { length, slots, times }
    }
}

fn slot(state: &StateDescription, maps: bool) -> Slot {
    match (state.kind, state.value) {
        (StateKind::Value | StateKind::Reducing | StateKind::Aggregating, kind) => match kind {
            Kind::Boolean => Slot::Boolean(0),
            Kind::Int64 => Slot::Int64(0),
            Kind::Float64 => Slot::Float64(0),
            Kind::Utf8 => Slot::Utf8,
            Kind::Binary => Slot::Binary,
        },
        (StateKind::List, _) => Slot::List { length_at: 0, at: 0, short_bytes: 0 },
        (StateKind::Map, _) if maps => Slot::Map,
        _ => Slot::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimeToLive;

    #[test]
    fn parts_of_a_record_do_not_overlap() {
        let kinds = [Kind::Boolean, Kind::Int64, Kind::Float64, Kind::Utf8];
        let state = |i: usize, bits: usize| StateDescription {
            name: String::new(),
            kind: if bits & 4 == 0 { StateKind::Value } else { StateKind::List },
            schema_version: 0,
            value: kinds[(bits + i) % 4],
            key: None,
            time_to_live: (bits & 8 != 0).then_some(TimeToLive {
                milliseconds: 1,
                update_on_read: false,
                return_expired: false,
            }),
        };
        for seed in 0..4096 {
            let states: Vec<_> = (0..seed % 7).map(|i| state(i, seed >> (2 * i))).collect();
            let layout = Layout::of(&states, true);
            let mut parts: Vec<_> = (0..states.len()).map(|i| i..i + 1).collect();
            for slot in &layout.slots {
                match *slot {
                    Slot::Boolean(at) => parts.push(at..at + 1),
                    Slot::Int64(at) | Slot::Float64(at) => parts.push(at..at + 8),
                    Slot::List { length_at, at, short_bytes } => {
                        assert!((SHORT_BYTES_MIN..=SHORT_BYTES_MAX).contains(&short_bytes));
                        parts.extend([length_at..length_at + 1, at..at + short_bytes]);
                    }
                    Slot::Absent | Slot::Utf8 | Slot::Binary | Slot::Map => {}
                }
            }
            parts.extend(layout.times.iter().flatten().map(|at| *at..*at + 8));
            parts.sort_by_key(|part| part.start);
            assert!(parts.is_sorted_by(|a, b| a.end <= b.start), "{parts:?}");
            assert!(parts.last().is_none_or(|last| last.end <= layout.length));
        }
    }
}
