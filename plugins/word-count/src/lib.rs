//! Word count: a transform that splits lines into lower-case words, and an aggregate that counts them.
//!
//! Guarantees: words are what lies between Unicode white space. Must not know: what the count is grouped by.

use wasmill_sdk::prelude::*;

#[derive(Record)]
struct Line<'a> {
    line: &'a str,
}

#[derive(Record, Debug, PartialEq)]
struct Word<'a> {
    word: &'a str,
}

#[flat_map]
fn words(line: Line, out: &mut Output<Word>) {
    for word in text::words(&text::to_lowercase(line.line)) {
        out.emit(Word { word });
    }
}

#[derive(Record, Debug, PartialEq)]
struct Count {
    count: i64,
}

struct WordCount;

#[aggregate]
impl WordCount {
    fn accumulate(count: &mut i64, _word: ()) {
        *count += 1;
    }

    fn merge(count: &mut i64, other: i64) {
        *count += other;
    }

    fn result(count: i64) -> Count {
        Count { count }
    }
}

wasmill_sdk::export!(transform: words, aggregate: WordCount);

#[cfg(test)]
mod tests {
    use super::*;
    use wasmill_sdk::testing::{AggregateHarness, TransformHarness};

    #[test]
    fn lines_become_lower_case_words() {
        let mut harness = TransformHarness::<words>::new();
        let result =
            harness.run([Line { line: "To be, or NOT\tto be" }, Line { line: "  " }, Line { line: "ÉTÉ\u{2003}été" }]);
        let expected = ["to", "be,", "or", "not", "to", "be", "été", "été"].map(|word| Word { word });
        assert_eq!(result.emitted::<Word>(), expected);
        assert_eq!(result.origins(), [0, 0, 0, 0, 0, 0, 2, 2]);
    }

    #[test]
    fn words_are_counted_and_counts_are_added() {
        let mut harness = AggregateHarness::<WordCount>::new();
        let (left, right) = (harness.fold([(), ()]), harness.fold([(), (), ()]));
        assert_eq!(left.result::<Count>(), Count { count: 2 });
        assert_eq!(harness.merge(&left, &right).result::<Count>(), Count { count: 5 });
    }
}
