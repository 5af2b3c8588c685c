//! The rows of state that a call touches. Names places only; holds no state.
use crate::model::Window;

/// The distinct keys, or keys in windows, of a call. Valid until the store is next touched, scanned, or asked for a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// For each row of the call, the index of its distinct key, or key and window, in the order they first came.
    pub groups: Vec<u32>,
    /// Which of `windows`, and which row of its table. The table one past the last stands for "not there".
    pub(super) places: Vec<(u32, u32)>,
    /// The windows, each once.
    pub(super) windows: Vec<Window>,
    /// Whether rows of sessions are meant, not of keys.
    pub(super) sessions: bool,
}

impl Touched {
    /// How many distinct keys, or keys in windows, there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// For each distinct key the first row of the call that has it.
    pub fn first_rows(&self) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.len());
        for (row, group) in self.groups.iter().enumerate() {
            if *group as usize == rows.len() {
                rows.push(row as u32);
            }
        }
        rows
    }

    /// The rows that were at these places, in this order, each a distinct one for a row of the call.
    pub fn reorder(&mut self, order: &[u32]) {
        self.places = order.iter().map(|at| self.places[*at as usize]).collect();
        self.groups.clear();
        self.groups.extend(0..order.len() as u32);
    }

    pub(super) fn clear(&mut self, sessions: bool) {
        self.groups.clear();
        self.places.clear();
        self.windows.clear();
        self.sessions = sessions;
    }
}
