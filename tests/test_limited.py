"""The bounds under which hostile files are read do bound."""

from tests.limited import CPU_SECONDS, run_limited

TAKE = """
try:
    print(len(bytes(int(sys.argv[1]))))
except MemoryError:
    print("no memory")
print(resource.getrlimit(resource.RLIMIT_CPU)[0])
"""


def test_a_child_is_bounded() -> None:
    """In memory beside what it has, and in processor time."""
    for size, said in ((2**26, str(2**26)), (2**28, "no memory")):
        assert run_limited("import resource", TAKE, size).split("\n")[:2] == [
            said,
            f"{CPU_SECONDS}",
        ]
