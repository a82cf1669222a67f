"""Sets of regions of images, which are filled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.ablate.cases import Cases, How, Measured
from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.regions import Fill, fill_regions, grid_regions
from patchclamp.core.stimulus import Picture


@checked
@dataclass(frozen=True, eq=False)
class RegionSets:
    """Hold sets of regions of images: squares of a grid.

    Args:
        size: side of a square, in pixels.
        rows: ``(set, region)`` marks; of images of one size.
    """

    size: int
    rows: Bool[np.ndarray, "set region"]

    def __len__(self) -> int:
        return len(self.rows)

    def regions(self, pictures: Sequence[Picture]) -> Int[np.ndarray, "y x"]:
        """Return the number of the region that each pixel belongs to.

        Raises:
            PatchclampError: images of several sizes, or another number of regions than the sets have marks.
        """
        grids = [grid_regions(picture, self.size) for picture in pictures]
        sizes = {grid.shape for grid in grids}
        n = int(grids[0].max()) + 1
        if len(sizes) != 1 or n != self.rows.shape[1]:
            raise PatchclampError(
                expected=f"images of one size, of {self.rows.shape[1]} regions",
                got=f"{len(sizes)} sizes" if len(sizes) != 1 else f"{n} regions",
                remedy="Resize them, or give a mark for every square.",
            )
        return grids[0]

    def measure(self, subject: Any, cases: Cases, fill: Fill, how: How) -> Iterator[Measured]:
        """Yield m of every image with each set of regions filled, pass by pass; see ``measure_sets``.

        Args:
            subject: a network that classifies images.
            cases: images, and m of each.
            fill: ``zero`` or ``mean``.
            how: which sets, and how many rows at once.

        Yields:
            tuple: case and set of each row, and m.

        Raises:
            PatchclampError: stimuli that are no images, or another number of regions.

        Cost: a forward pass per image and set; memory of the images of one pass.
        """
        strange = [x for x in cases.shown if not isinstance(x, Picture)]
        if strange:
            raise PatchclampError(
                expected="images, for regions", got=type(strange[0]).__name__, remedy="Replace units or positions."
            )
        pictures: Sequence[Picture] = cases.shown  # type: ignore[assignment]  # checked above
        regions = self.regions(pictures)
        for i, picture in enumerate(pictures):
            measured = np.arange(len(self)) if how.only is None else np.flatnonzero(how.only[i])
            for sets in (measured[k : k + how.batch_size] for k in range(0, len(measured), how.batch_size)):
                marks = self.rows[sets] != how.keep
                shown = fill_regions(picture, regions, marks, fill)
                values = subject.measure(shown, cases.metrics[i]).cpu().double().numpy()
                yield np.full(len(sets), i), sets, values
