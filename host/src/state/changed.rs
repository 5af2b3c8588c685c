//! Which rows of a table in memory may have changed since the last checkpoint, and how many rows its sections have, so that a
//! checkpoint looks at what has changed and not at all there is.
use super::{
    chain::{SECTIONS, section_of},
    rows::Rows,
};
use crate::model::KeyGroups;

/// Marks and counts of a table's rows. They hold for the places rows had when they were made: once rows have moved, all may have changed.
#[derive(Default)]
pub(super) struct ChangedRows {
    /// A bit a row.
    marks: Vec<u64>,
    /// That of the rows when marks were last cleared.
    generation: u64,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    generation: u64,
    /// How many rows were counted.
    rows: usize,
    sections: [u64; SECTIONS],
}

impl ChangedRows {
    /// Notes that a row was changed.
    pub(super) fn mark(&mut self, row: usize) {
        let at = row / 64;
        if at >= self.marks.len() {
            self.marks.resize(at + 1, 0);
        }
        self.marks[at] |= 1 << (row % 64);
    }

    /// The rows that have changed, ascending. `all` looks at all of them, where values also change without being marked.
    pub(super) fn of(&self, rows: &Rows, all: bool) -> Vec<u32> {
        if all || self.generation != rows.generation {
            return (0..rows.len()).filter(|row| rows.is_changed(*row)).map(|row| row as u32).collect();
        }
        let mut changed = Vec::new();
        for (at, marks) in self.marks.iter().enumerate().filter(|(_, marks)| **marks != 0) {
            let mut left = *marks;
            while left != 0 {
                let row = at * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                if row < rows.len() && rows.is_changed(row) {
                    changed.push(row as u32);
                }
            }
        }
        changed
    }

    /// Changes were taken note of.
    pub(super) fn clear(&mut self, rows: &Rows) {
        self.marks.clear();
        self.generation = rows.generation;
    }

    /// How many rows each section has, dead ones included, which are less than half of them.
    pub(super) fn count(&mut self, rows: &Rows, groups: &KeyGroups) -> &[u64; SECTIONS] {
        let counts = &mut self.counts;
        if counts.generation != rows.generation {
            *counts = Counts { generation: rows.generation, ..Counts::default() };
        }
        for group in &rows.groups[counts.rows..] {
            counts.sections[section_of((*group).into(), groups)] += 1;
        }
        counts.rows = rows.len();
        &counts.sections
    }
}
