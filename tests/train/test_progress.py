"""The estimate of how long a run will take, with a simulated clock."""

from ancestral.train.progress import Pace, in_words


class Clock:
    """A clock that advances by the next of `seconds` at each call."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.waits = 0.0, list(seconds)

    def __call__(self) -> float:
        self.now += self.waits.pop(0)
        return self.now


def test_the_first_step_is_not_timed_and_the_estimate_comes_once() -> None:
    # 100 s for the first step, then 9 s each: after one of these, more than 5 s are timed.
    pace = Pace(1001, Clock(100.0, 9.0))
    assert pace(1) is None
    assert pace(2) == 999 * 9.0
    assert [pace(step) for step in (3, 4, 5)] == [None] * 3


def test_five_short_steps_are_timed() -> None:
    pace = Pace(1001, Clock(1.0, *[0.5] * 5))
    assert [pace(step) for step in range(1, 6)] == [None] * 5
    assert pace(6) == 995 * 0.5


def test_a_resumed_run_counts_only_its_own_steps() -> None:
    pace = Pace(1000, Clock(1.0, 10.0))
    assert pace(901) is None
    assert pace(902) == 98 * 10.0


def test_a_short_run_has_no_estimate() -> None:
    pace = Pace(12, Clock(1.0, 5.0))
    assert [pace(1), pace(2), pace(3)] == [None] * 3


def test_durations_in_words() -> None:
    assert [in_words(s) for s in (61.0, 95.0, 5399.0, 6000.0, 180_000.0, 900_000.0)] == [
        "1 minute",
        "2 minutes",
        "90 minutes",
        "1.7 hours",
        "50 hours",
        "10 days",
    ]
