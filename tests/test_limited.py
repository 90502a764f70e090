"""The limits of tests that read hostile files have an effect."""

from tests.limited import CPU_SECONDS, run_limited

TAKE = """
try:
    print(len(bytes(int(sys.argv[1]))))
except MemoryError:
    print("no memory")
print(resource.getrlimit(resource.RLIMIT_CPU)[0])
"""


def test_limits_of_a_child() -> None:
    """A child has limits on the memory that it may add, and on processor time."""
    for size, printed in ((2**26, str(2**26)), (2**28, "no memory")):
        assert run_limited("import resource", TAKE, size).split("\n")[:2] == [
            printed,
            f"{CPU_SECONDS}",
        ]
