"""Cells of neighbours: the same for one pixel as for arrays, and the kind that suits the images."""

import numpy as np
import pytest

from ancestral.dataspec import DataSpec
from ancestral.engine.noise import Noise
from ancestral.engine.speculation import Row, Table
from ancestral.engine.speculation.neighbourhood import Gradient, Groups, steps_back
from ancestral.sampling import UNFILTERED


@pytest.mark.parametrize("kind", [Groups(17), Gradient(17), Groups(2), Gradient(256)])
def test_cells_of_arrays_are_those_of_numbers(kind: Groups | Gradient) -> None:
    levels = 17 if isinstance(kind, Groups) and kind.missing == 17 else 2
    known = np.random.default_rng(0).integers(0, levels, (3, 200))
    known[:, :8] = kind.missing
    cells = kind.all_cells(*known)
    assert cells.tolist() == [kind.cell(*each) for each in known.T.tolist()]
    assert cells.min() >= 0
    assert cells.max() < kind.cells


def test_gradient_of_a_plane_is_the_plane() -> None:
    kind = Gradient(17)
    assert kind.cell(5, 7, 4) // 3 == 7, "a prediction beyond both neighbours is the nearer one"
    assert kind.cell(5, 9, 7) // 3 == 7
    assert kind.cell(5, 9, 5) // 3 == 9


@pytest.mark.parametrize("ordering", ["raster", "column", "random:1"])
def test_neighbours_are_adjacent_and_earlier(ordering: str) -> None:
    data = DataSpec(name="three", event_shape=(3, 4), levels=5, ordering=ordering)
    rows, columns = np.divmod(data.order, 4)
    steps = [(0, 1), (1, 0), (1, 1)]
    found = steps_back(data)
    for at in range(12):
        for (down, right), back in zip(steps, found[at], strict=True):
            wanted = [
                before
                for before in range(at)
                if (rows[before], columns[before]) == (rows[at] - down, columns[at] - right)
            ]
            assert wanted == ([at - back] if back else [])


def test_smooth_images_are_predicted_by_their_gradient() -> None:
    """Planes of many slopes: the groups of two neighbours say little of the next value."""
    data = DataSpec(name="planes", event_shape=(6, 6), levels=32)
    rng = np.random.default_rng(0)
    down, right, start = rng.integers(0, 3, 3 * 400).reshape(3, 400, 1, 1)
    at = np.arange(6)
    planes = start + down * at[:, None] + right * at
    table = Table(planes[:300], data)
    hits = []
    for i, plane in enumerate(planes[300:]):
        row = Row(data, np.full(36, -1), Noise(0, i), None, UNFILTERED)
        with table.begin(row) as proposals:
            hits += [
                proposals.propose(plane.ravel(), at, 1)[0] == plane.flat[at] for at in (21, 28)
            ]
    assert np.mean(hits) > 0.8
