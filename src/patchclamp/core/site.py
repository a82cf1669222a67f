"""A named place in a subject with one vector per position."""

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.checks import within
from patchclamp.core.errors import PatchclampError, report_damage
from patchclamp.core.json_text import read_list
from patchclamp.core.nearest import find_nearest

AXES = (
    "stimulus",
    "position",
    "source",
    "step",
    "trial",
    "time",
    "layer",
    "head",
    "expert",
    "unit",
    "channel",
    "y",
    "x",
    "token",
)
"""The closed list of axis names."""


@checked
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
        places: how many places one image makes here: ``(y, x)`` of a map, ``(n,)`` of a sequence of tokens, ``(1,)``
            where they are pooled; ``()`` where a row is a token of text. Position p of a map is y · X + x.
        calls: how often the module runs in one forward. A change reaches every run; several runs have no one value.

    Raises:
        PatchclampError: an axis name is not in the closed list.

    Example:
        >>> Site("blocks.3.mlp.act", "mlp.act", 172, layer=3).describe()
        '172'
    """

    path: str
    kind: str
    width: Natural
    axes: tuple[str, ...] = ("stimulus", "position", "unit")
    n_heads: Natural = 0
    layer: Natural | None = None
    writable: bool = True
    tapped: bool = False
    ragged: bool = False
    places: tuple[int, ...] = ()
    calls: int = 1

    def __post_init__(self) -> None:
        strangers = [axis for axis in self.axes if axis not in AXES]
        if strangers:
            raise PatchclampError(
                expected=f"axis names from {', '.join(AXES)}",
                got=", ".join(map(repr, strangers)),
                remedy="Use the nearest name of the closed list.",
            )

    @property
    def unit_axis(self) -> int:
        """Index, from the end, of the axis that enumerates units in a batch of values: the channels, else the last."""
        return self.axes.index("channel") - len(self.axes) if "channel" in self.axes else -1

    @property
    def n_places(self) -> int:
        """Rows that one image makes here; 0 where the text decides."""
        return math.prod(self.places) if self.places else 0

    def place(self, position: Natural) -> tuple[int, ...]:
        """Return where a position lies: ``(y, x)`` on a map, ``(position,)`` elsewhere.

        Example:
            >>> Site("a", "conv.act", 4, places=(3, 5)).place(7)
            (1, 2)
        """
        if self.places:
            within(f"at {self.path} a position", position, 0, self.n_places - 1, remedy="Count from 0, row after row.")
        return divmod(position, self.places[1]) if len(self.places) == 2 else (position,)

    def position(self, *place: int) -> int:
        """Return the position at ``(y, x)`` of a map; the inverse of ``place``."""
        sizes = self.places or (len(place) and place[0] + 1,)
        if len(place) != len(sizes) or not all(0 <= at < size for at, size in zip(place, sizes, strict=True)):
            raise PatchclampError(
                expected=f"a place on {' x '.join(map(str, sizes))} at {self.path}",
                got=str(place),
                remedy="Count from 0: position(y, x) on a map.",
            )
        return place[0] * self.places[1] + place[1] if len(self.places) == 2 else place[0]

    def to_json(self) -> dict[str, Any]:
        """Return the site as JSON-ready data; ``ragged``, ``places`` and ``calls`` only where they say something."""
        plain: dict[str, Any] = {"ragged": False, "places": (), "calls": 1}
        return {k: v for k, v in asdict(self).items() if k not in plain or v != plain[k]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Site":
        """Read a site; the inverse of ``to_json``.

        Raises:
            Damaged: a part that is missing, unknown or of another type.
        """
        with report_damage("a site", "Record again."):
            lists = {"axes": read_list(data["axes"]), "places": read_list(data.get("places", []))}
            return cls(**{**data, **{name: tuple(one) for name, one in lists.items()}})

    def describe(self) -> str:
        """Return the width as people write it: ``8 x 64`` for heads, ``16 x 8 x 8`` for maps, ``172`` otherwise."""
        if len(self.places) == 2:
            return " x ".join(map(str, (self.width, *self.places)))
        if self.width == 0:
            return f"{self.n_heads} x source" if self.n_heads else "ragged"
        return f"{self.n_heads} x {self.width // self.n_heads}" if self.n_heads else str(self.width)


def listed_patterns(patterns: str | Sequence[str]) -> list[str]:
    """Return patterns one by one.

    Raises:
        PatchclampError: something else than text, or a list of it.
    """
    if isinstance(patterns, str):
        return patterns.split(",")
    asked = list(patterns) if isinstance(patterns, Iterable) else [patterns]
    if not all(isinstance(pattern, str) for pattern in asked):
        raise PatchclampError(
            expected="site paths or patterns, as text or a list of text",
            got=f"{patterns!r:.80}",
            remedy="For example 'blocks.*.mlp.act'; `patchclamp info MODEL` lists them.",
        )
    return asked


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
    asked = listed_patterns(patterns)
    paths = {s.path: None for s in listed}
    chosen: set[str] = set()
    for pattern in (p.strip() for p in asked):
        matches = [pattern] if pattern in paths else [p for p in paths if fnmatch.fnmatchcase(p, pattern)]
        if not matches:
            near = find_nearest(pattern.replace("*", "0"), paths, 3, cutoff=0.3)
            raise PatchclampError(
                expected="a site of this subject",
                got=f"{pattern!r}, which matches none of its {len(paths)} sites",
                remedy=f"Nearest: {', '.join(near)}." if near else "`patchclamp info MODEL` lists them.",
            )
        chosen.update(matches)
    return [s for s in listed if s.path in chosen]
