"""Word count: a transform that splits lines into words, and an aggregate that counts rows. Written against the contract's
bindings alone. `bytes` knows ASCII only: words are separated by ASCII white space and only ASCII letters become lower case,
which is also several times faster than decoding each line."""

from wit_world import exports
from wit_world.exports.aggregate import Accumulated, Accumulators
from wit_world.imports.types import (
    Batch,
    Column,
    Description,
    Emission,
    Field,
    Kind,
    Moment,
    Placement,
    Rows,
    Shape_Columns,
    State,
    StateKind,
    Values_Int64,
    Values_Utf8,
    Variable,
)


class Transform(exports.Transform):
    def describe(self) -> Description:
        return Description(
            name="split-words",
            version="0.1.0",
            inputs=[[Field("line", Kind.UTF8, False)]],
            keys=[],
            output=Shape_Columns([Field("word", Kind.UTF8, False)]),
            side_outputs=[],
            states=[],
            metrics=[],
            configuration="",
        )

    def configure(self, configuration: str, placement: Placement) -> None:
        pass

    def process(self, moment: Moment, batch: Batch) -> Emission:
        lines = batch.columns[0].values.value
        data, offsets = lines.data.lower(), lines.offsets
        words, origins, ends, length = [], [], [0], 0
        for row in range(batch.rows):
            for word in data[offsets[row] : offsets[row + 1]].split():
                words.append(word)
                origins.append(row)
                length += len(word)
                ends.append(length)
        column = Column(None, Values_Utf8(Variable(ends, b"".join(words))))
        return Emission(Rows(origins, None, [column]), [], [], [])


class Aggregate(exports.Aggregate):
    def describe(self) -> Description:
        return Description(
            name="count",
            version="0.1.0",
            inputs=[[]],
            keys=[],
            output=Shape_Columns([Field("count", Kind.INT64, False)]),
            side_outputs=[],
            states=[State("count", StateKind.AGGREGATING, 1, Kind.INT64, None, None)],
            metrics=[],
            configuration="",
        )

    def configure(self, configuration: str, placement: Placement) -> None:
        pass

    def accumulate(self, moment: Moment, batch: Batch, groups: list[int], accumulators: Accumulators) -> Accumulated:
        totals = counts(accumulators)
        for group in groups:
            totals[group] += 1
        return Accumulated(column(totals), [], [])

    def merge(self, accumulators: Accumulators, others: Accumulators, groups: list[int]) -> Column:
        totals = counts(accumulators)
        for group, count in zip(groups, counts(others)):
            totals[group] += count
        return column(totals)

    def results(self, accumulators: Accumulators) -> list[Column]:
        return [column(counts(accumulators))]


def counts(accumulators: Accumulators) -> list[int]:
    """The values, with zero for null: an accumulator that is new."""
    values, validity = accumulators.values.values.value, accumulators.values.validity
    if validity is None:
        return values
    return [value if validity[i >> 3] >> (i & 7) & 1 else 0 for i, value in enumerate(values)]


def column(values: list[int]) -> Column:
    return Column(None, Values_Int64(values))
