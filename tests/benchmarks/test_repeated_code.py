"""Prompts of repeated code: the first suitable function of each file, under three names."""

from benchmarks.speculation.repeated_code import prompts

FILE = b"""import os

def short(a):
    return a

class Box:
    def size(self, unit):
        return self.resize(unit) * size(unit)

    def other(self, unit):
        # The same in another unit.
        return unit
"""


def test_prompts_repeat_the_first_suitable_function() -> None:
    long = FILE.replace(b"(unit) *", b"(unit) * 2 *" + b" 2 *" * 20)
    files = {"a.py": FILE, "b.py": b"x = 1\n", "c.py": long, "d.py": FILE + b"# \xc3\xa4\n"}
    found = prompts(files)
    body = "(self, unit):\n    return self.resize(unit) * size(unit)\n\n"
    assert found[0] == "".join(f"def size_{number}{body}" for number in (1, 2, 3))
    assert [each.split("(")[0] for each in found] == ["def size_1", "def other_1"]
