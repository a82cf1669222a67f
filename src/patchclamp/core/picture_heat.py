"""Where on a picture an answer comes from: scores summed by place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import Positive, checked

MOST_CELLS = 32
"""Cells along a side of the map that a graph holds."""
Box = tuple[float, float, float, float]


@checked
@dataclass(frozen=True, eq=False)
class HeatMap:
    """Sum scores over the units of a site, or of all sites with the same places, by place.

    Args:
        site: whose units; empty for those of all sites together.
        values: ``(y, x)`` sums, in the unit of the scores.
        apart: sum over places that lie nowhere on the picture, such as a class token.
    """

    site: str
    values: Float[np.ndarray, "y x"]
    apart: float = 0.0


@checked
@dataclass(frozen=True)
class NodePlace:
    """Where a node of an explained answer lies on the picture.

    Args:
        position: number of the place at its site; of a channel the one that carries most.
        name: where that is, in words.
        box: left, top, right and bottom of what the place reads, as shares of the picture.
        cell: the same of its own cell.
    """

    position: int
    name: str
    box: Box
    cell: Box


@checked
@dataclass(frozen=True, eq=False)
class PictureHeat:
    """A picture as the network is shown it, with where on it scores lie.

    Args:
        pixels: ``uint8 (y, x)`` or ``(y, x, 3)``.
        maps: one for each grid of places.
        places: of the nodes that have one, by key.
    """

    pixels: np.ndarray
    maps: tuple[HeatMap, ...]
    places: Mapping[str, NodePlace] = field(default_factory=dict)

    @property
    def apart(self) -> float:
        """Sum of what lies nowhere on the picture."""
        return sum(one.apart for one in self.maps)

    def together(self) -> Float[np.ndarray, "y x"]:
        """Return the sum of all maps on the finest of their grids; a coarser cell is spread evenly over its area."""
        rows, columns = (max(one.values.shape[axis] for one in self.maps) for axis in (0, 1))
        return sum_maps([one.values for one in self.maps], rows, columns)

    def to_json(self) -> dict[str, object]:
        """Return the sums as JSON-ready data; the pixels are the picture's own."""
        values = self.together()
        return {"rows": values.shape[0], "columns": values.shape[1], "values": values.tolist(), "apart": self.apart}

    def summary(self) -> dict[str, object]:
        """Return what a graph holds: size, the sums on at most 32 x 32 cells, and the places of nodes."""
        rows, columns = (min(side, MOST_CELLS) for side in self.together().shape)
        sums = sum_maps([one.values for one in self.maps], rows, columns)
        return {
            "size": list(self.pixels.shape[:2]),
            "map": [rows, columns],
            "values": [float(f"{x:.4g}") for x in sums.ravel().tolist()],
            "apart": self.apart,
            "places": {
                key: {"position": at.position, "name": at.name, "box": list(at.box), "cell": list(at.cell)}
                for key, at in self.places.items()
            },
        }


@checked
def sum_maps(
    maps: Sequence[Float[np.ndarray, "y x"]], rows: Positive, columns: Positive
) -> Float[np.ndarray, "row column"]:
    """Return the sum of maps of several sizes on one grid; what a cell holds is spread evenly over its area.

    Args:
        maps: at least one.
        rows: of the grid,
        columns: and its columns.

    Returns:
        Float[np.ndarray, "row column"]: whose sum is that of all maps.

    Source: ours: an even spread keeps every cell's sum.

    Cost: two products per map.

    Example:
        >>> sum_maps([np.full((1, 1), 4.0), np.array([[1.0, 0.0], [0.0, 0.0]])], 2, 2).tolist()
        [[2.0, 1.0], [1.0, 1.0]]
    """
    whole = np.zeros((rows, columns))
    for values in maps:
        down, across = _overlaps(rows, values.shape[0]), _overlaps(columns, values.shape[1])
        whole += down @ values.astype(np.float64) @ across.T
    return whole


def _overlaps(fine: int, coarse: int) -> Float[np.ndarray, "fine coarse"]:
    """Return which share of each coarse cell lies in each fine cell, along one axis."""
    starts, ends = np.arange(fine) / fine, (np.arange(fine) + 1) / fine
    firsts, lasts = np.arange(coarse) / coarse, (np.arange(coarse) + 1) / coarse
    shared = np.minimum(ends[:, None], lasts) - np.maximum(starts[:, None], firsts)
    return np.asarray(np.clip(shared, 0, None) * coarse)
