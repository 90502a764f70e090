"""Plans in closed cases, and against every combination of forms."""

from itertools import product

import numpy as np
import pytest

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.precision.choice import Form, plans, tensors_of, worthwhile

INT4 = QuantisedTensor(bits=4, group=128, symmetric=True)
FINE = QuantisedTensor(bits=4, group=32, symmetric=True)
INT8 = QuantisedTensor(bits=8, group=128, symmetric=True)


def ladder(int4: float, fine: float, int8: float, scale: int = 1) -> list[Form]:
    """Return the forms of a weight with these costs."""
    return [
        Form(None, 400 * scale, 0.0),
        Form(INT8, 104 * scale, int8),
        Form(FINE, 62 * scale, fine),
        Form(INT4, 53 * scale, int4),
    ]


def test_planted_sensitive_weight() -> None:
    """Only the weight that 4 bits ruin leaves 4 bits, until the others are worth more."""
    forms = {name: ladder(2e-5, 1e-5, 1e-7) for name in ("a", "c")}
    forms["b"] = ladder(5.0, 1.0, 1e-3)
    first, second, third, *_ = list(plans(forms))
    assert tensors_of(first) == dict.fromkeys("acb", INT4)
    assert tensors_of(second) == {"a": INT4, "b": FINE, "c": INT4}
    assert tensors_of(third) == {"a": INT4, "b": INT8, "c": INT4}


def test_forms_that_others_beat_are_skipped() -> None:
    """A form that loses more than a mixture of its neighbours is not used, nor a worse one."""
    found = worthwhile(ladder(1.0, 0.9, 0.0))
    assert [form.how for form in found] == [INT4, INT8, None]
    found = worthwhile(ladder(0.5, 0.9, 0.1))
    assert [form.how for form in found] == [INT4, INT8, None]


def test_weights_without_cost() -> None:
    """A weight that loses nothing keeps its fewest bytes until everything is float32."""
    found = list(plans({"a": ladder(0.0, 0.0, 0.0), "b": ladder(1e-2, 1e-3, 1e-5)}))
    assert [tensors_of(plan).get("a") for plan in found[:4]] == [INT4] * 4
    assert tensors_of(found[-1]) == {}


@pytest.mark.parametrize("seed", range(6))
def test_no_combination_is_better(seed: int) -> None:
    """A plan has the smallest cost of all combinations of forms that are not larger."""
    random = np.random.default_rng(seed)
    forms = {
        name: ladder(*np.sort(random.exponential(1.0, 3))[::-1].tolist(), random.integers(1, 9))
        for name in "abcd"
    }
    every = [
        (sum(form.size for form in some), sum(form.cost for form in some))
        for some in product(*forms.values())
    ]
    found = list(plans(forms))
    sizes = [sum(form.size for form in plan.values()) for plan in found]
    assert sizes == sorted(sizes)
    assert sizes[0] == min(size for size, _ in every)
    assert sizes[-1] == max(size for size, _ in every)
    for size, plan in zip(sizes, found, strict=True):
        best = min(cost for other, cost in every if other <= size)
        assert sum(form.cost for form in plan.values()) == pytest.approx(best, abs=1e-12)
