"""The models of the benchmarks of bulk jobs."""

from benchmarks.cases import CASES, Case

DIGITS = Case(
    "bulk-digits",
    "bulk jobs over the digits of `make demo`: 8x8 pixels, 17 levels, 10 classes",
    {},
    event_shape=(8, 8),
    levels=17,
)
"""Its bundle is that of the demo."""
TABLE = CASES["bulk-table"]
"""A model that costs next to nothing, for the memory of large jobs."""
