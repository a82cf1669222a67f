"""Units of whole sites in forward order, whose keys are written when they are read."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import SupportsIndex, overload

from patchclamp.core.unit import UnitKey


class Units(Sequence[str]):
    """List the keys of all units of some sites: site by site, position by position, unit by unit.

    A tuple of as many strings costs more than the gradients that score them.

    Args:
        sites: path, basis and number of units of each site.
        n_places: positions, each of which has units of its own; None where a unit stands for all of them.

    Example:
        >>> two = Units([("embed", "whole", 1), ("blocks.0.mlp.act", "neurons", 2)], 2)
        >>> len(two), two[1], two[-1]
        (6, 'embed/whole/0@1', 'blocks.0.mlp.act/neurons/1@1')
    """

    def __init__(self, sites: Sequence[tuple[str, str, int]], n_places: int | None = None) -> None:
        self.sites, self.n_places = tuple(sites), n_places

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Where each site's units begin; at last how many there are."""
        return tuple(accumulate((n * (self.n_places or 1) for *_, n in self.sites), initial=0))

    def __len__(self) -> int:
        return self.firsts[-1]

    @overload
    def __getitem__(self, i: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[str, ...]: ...
    def __getitem__(self, i: SupportsIndex | slice) -> str | tuple[str, ...]:
        if isinstance(i, slice):
            return tuple(self[k] for k in range(*i.indices(len(self))))
        at = i.__index__()
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        at %= len(self)
        site = bisect_right(self.firsts, at) - 1
        path, basis, n = self.sites[site]
        place, unit = divmod(at - self.firsts[site], n)
        return str(UnitKey(path, unit, basis, None, None if self.n_places is None else place))

    def __iter__(self) -> Iterator[str]:
        for path, basis, n in self.sites:
            str(UnitKey(path, 0, basis))  # checked once
            for end in ("",) if self.n_places is None else (f"@{place}" for place in range(self.n_places)):
                for unit in range(n):
                    yield f"{path}/{basis}/{unit}{end}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # equal to tuples, whose hash needs every key
