"""Site: a named place in a subject with one vector per position."""

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from patchclamp.core.errors import PatchclampError

AXES = (
    "stimulus", "position", "source", "step", "trial", "time", "layer", "head", "expert", "unit", "channel", "y", "x",
    "token",
)  # fmt: skip
"""The closed list of axis names."""


@dataclass(frozen=True)
class Site:
    """Name a place in a subject where one vector per position can be read, and perhaps written.

    Args:
        path: canonical path, such as ``blocks.3.mlp.act`` or ``module.layer1.0.conv1.out``.
        kind: the path without its block number (``mlp.act``), the same in every block and family.
        width: numbers per position; 0 where it depends on the input (an attention pattern).
        axes: names of the axes of a batch of values, from ``AXES``.
        n_heads: number of equal blocks the width divides into; 0 where it has none.
        layer: block number, or None outside the blocks.
        writable: whether an intervention may change it.
        tapped: whether reading it needs the attention tap (and so eager attention arithmetic).
        ragged: only some tokens come by, such as those that are routed to an expert; others have no row.

    Raises:
        PatchclampError: an axis name is not in the closed list.

    Example:
        >>> Site("blocks.3.mlp.act", "mlp.act", 172, layer=3).describe()
        '172'
    """

    path: str
    kind: str
    width: int
    axes: tuple[str, ...] = ("stimulus", "position", "unit")
    n_heads: int = 0
    layer: int | None = None
    writable: bool = True
    tapped: bool = False
    ragged: bool = False

    def __post_init__(self) -> None:
        strangers = [axis for axis in self.axes if axis not in AXES]
        if strangers:
            raise PatchclampError(
                expected=f"axis names from {', '.join(AXES)}",
                got=", ".join(strangers),
                remedy="Use the nearest name of the closed list.",
            )

    @property
    def unit_axis(self) -> int:
        """Index of the axis that enumerates units in a batch of values: the channels, else the last."""
        return self.axes.index("channel") if "channel" in self.axes else -1

    def describe(self) -> str:
        """Return the width as people write it: ``8 x 64`` for heads, ``172`` otherwise."""
        if self.width == 0:
            return f"{self.n_heads} x source" if self.n_heads else "ragged"
        return f"{self.n_heads} x {self.width // self.n_heads}" if self.n_heads else str(self.width)


def find_sites(patterns: str | Sequence[str], sites: Iterable[Site]) -> list[Site]:
    """Return the sites whose paths match any of the patterns, in the order of ``sites``.

    ``*`` and ``?`` match within and across dots, as in a shell; ``blocks.*.mlp.act`` is every block's neurons.

    Args:
        patterns: one pattern, several, or several in one string joined by commas.
        sites: the sites to choose from.

    Returns:
        list[Site]: matches without repetition.

    Raises:
        PatchclampError: a pattern matches nothing; the nearest paths are named.

    Cost: patterns × sites string matches.

    Example:
        >>> a, b = Site("blocks.0.mlp.act", "mlp.act", 8), Site("blocks.0.mlp.pre", "mlp.pre", 8)
        >>> [s.path for s in find_sites("blocks.*.mlp.act", [a, b])]
        ['blocks.0.mlp.act']
    """
    listed = list(sites)
    asked = patterns.split(",") if isinstance(patterns, str) else list(patterns)
    paths = {s.path: None for s in listed}
    chosen: set[str] = set()
    for pattern in (p.strip() for p in asked):
        found = [pattern] if pattern in paths else [p for p in paths if fnmatch.fnmatchcase(p, pattern)]
        if not found:
            near = difflib.get_close_matches(pattern.replace("*", "0"), paths, n=3, cutoff=0.3)
            raise PatchclampError(
                expected="a site of this subject",
                got=f"{pattern!r}, which matches none of its {len(paths)} sites",
                remedy=f"Nearest: {', '.join(near)}." if near else "`patchclamp sites MODEL` lists them.",
            )
        chosen.update(found)
    return [s for s in listed if s.path in chosen]
