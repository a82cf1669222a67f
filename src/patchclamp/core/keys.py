"""Lists of units, or of edges between units, whose keys are written only when they are read."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, SupportsIndex, overload
from urllib.parse import quote, unquote

import numpy as np
from jaxtyping import Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Span
from patchclamp.core.span_key import SpanKey
from patchclamp.core.unit import UnitKey

ARROW = "->"


@checked
@dataclass(frozen=True, order=True)
class EdgeKey:
    """Name an edge: the unit that writes, and the unit that reads what it wrote.

    Args:
        source: who writes.
        target: who reads.

    Example:
        >>> key = EdgeKey.parse("embed/whole/0->blocks.1.attn.q/heads/3")
        >>> key.target.index, EdgeKey.from_url(key.to_url()) == key
        (3, True)
    """

    source: UnitKey
    target: UnitKey

    @classmethod
    def parse(cls, text: str) -> "EdgeKey":
        """Read a key; the inverse of ``str``.

        Raises:
            PatchclampError: the text breaks the grammar.
        """
        parts = text.split(ARROW)
        if len(parts) != 2:
            raise PatchclampError(
                expected=f"an edge SOURCE{ARROW}TARGET, each the key of a unit",
                got=repr(text)[:200],
                remedy=f"For example embed/whole/0{ARROW}blocks.1.attn.q/heads/3.",
            )
        return cls(UnitKey.parse(parts[0]), UnitKey.parse(parts[1]))

    def __str__(self) -> str:
        return f"{self.source}{ARROW}{self.target}"

    def to_url(self) -> str:
        """Return the key as a URL path, percent-encoded where a server needs it."""
        return quote(str(self), safe="/@")

    @classmethod
    def from_url(cls, path: str) -> "EdgeKey":
        """Read a key from a URL path; the inverse of ``to_url``."""
        return cls.parse(unquote(path))


Key = UnitKey | SpanKey | EdgeKey
Part = str | tuple[str, str]
"""What a score can be of: a unit (a neuron, head, channel, feature, or a region of the input), or an edge.

A part is either as text without its subject: the key of a unit, or those of who writes and who reads.
"""
_SPANNED = re.compile(r"@(-|[0-9]*:)")


def parse_key(text: str) -> Key:
    """Read the key of a unit, of a unit over a span of positions, or of an edge.

    Raises:
        PatchclampError: the text breaks every grammar.
    """
    if ARROW in text:
        return EdgeKey.parse(text)
    return SpanKey.parse(text) if _SPANNED.search(text) else UnitKey.parse(text)


@checked
@dataclass(frozen=True)
class Block:
    """List the units of one site in one basis, at each of some places.

    Args:
        site: path of the site.
        basis: of its units.
        n_units: how many.
        n_places: positions, each with units of its own; None where a unit stands for all of them.
    """

    site: str
    basis: str
    n_units: Natural
    n_places: Natural | None = None

    @property
    def size(self) -> int:
        """Keys in it."""
        return self.n_units * (1 if self.n_places is None else self.n_places)


class _Keys(Sequence[str]):
    """Write keys when they are read, from whatever columns they lie in."""

    def key(self, i: int) -> Key:
        """Return the key at a place."""
        raise NotImplementedError

    @overload
    def __getitem__(self, i: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[str, ...]: ...
    def __getitem__(self, i: SupportsIndex | slice) -> str | tuple[str, ...]:
        if isinstance(i, slice):
            return tuple(str(self.key(k)) for k in range(*i.indices(len(self))))
        return str(self.key(i.__index__()))

    @property
    def parts(self) -> Sequence[Part]:
        """The keys without their subject."""
        raise NotImplementedError

    def _equals(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and tuple(self) == tuple(other)


@checked
class UnitIndex(_Keys):
    """List the keys of units, block by block, place by place, unit by unit.

    A tuple of as many strings costs more than the scores that it names.

    Args:
        blocks: the sites, in forward order.
        subject: slug that keys begin with; empty for none.
        spans: what the places of blocks are, as ``Span`` writes them, where they are not the positions from the start.

    Raises:
        PatchclampError: another number of spans than of places.

    Example:
        >>> two = UnitIndex([Block("embed", "whole", 1, 2), Block("blocks.0.mlp.act", "neurons", 2)])
        >>> len(two), two[1], two[-1], two.place("embed/whole/0@1")
        (4, 'embed/whole/0@1', 'blocks.0.mlp.act/neurons/1', 1)
        >>> UnitIndex([Block("embed", "whole", 1, 2)], spans=("-1", "0:3"))[1]
        'embed/whole/0@0:3'
    """

    def __init__(self, blocks: Sequence[Block], subject: str = "", spans: Sequence[str] = ()) -> None:
        self.blocks, self.subject, self.spans = tuple(blocks), subject, tuple(spans)
        if self.spans and any(block.n_places not in (None, len(self.spans)) for block in self.blocks):
            raise PatchclampError(
                expected=f"blocks of {len(self.spans)} places, one for each span",
                got=f"{self.blocks}"[:120],
                remedy="Leave spans out where places are the positions from the start.",
            )

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Where each block begins; at last how many keys there are."""
        return tuple(accumulate((block.size for block in self.blocks), initial=0))

    @cached_property
    def _numbers(self) -> dict[tuple[str, str], int]:
        return {(block.site, block.basis): i for i, block in enumerate(self.blocks)}

    def __len__(self) -> int:
        return self.firsts[-1]

    def key(self, i: int) -> UnitKey | SpanKey:
        """Return the key at a place.

        Raises:
            IndexError: no such place.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(i)
        i %= len(self)
        number = bisect_right(self.firsts, i) - 1
        block = self.blocks[number]
        place, index = divmod(i - self.firsts[number], block.n_units)
        unit = UnitKey(block.site, index, block.basis, self.subject or None)
        if block.n_places is None:
            return unit
        span = self.spans[place] if self.spans else str(place)
        return replace(unit, position=int(span)) if span.isdigit() else SpanKey(unit, span)

    def unit(self, i: int) -> UnitKey:
        """Return the unit at a place, without the span where it has one.

        Raises:
            IndexError: no such place.
        """
        key = self.key(i)
        return key.unit if isinstance(key, SpanKey) else key

    def place(self, key: str | UnitKey | SpanKey) -> int:
        """Return where a key stands; the inverse of ``key``.

        Raises:
            PatchclampError: a key that is not in the list.
        """
        parsed = parse_key(key) if isinstance(key, str) else key
        if isinstance(parsed, EdgeKey):
            raise _not_listed_error(self, str(parsed))
        unit, at = (parsed.unit, parsed.span) if isinstance(parsed, SpanKey) else (parsed, parsed.position)
        number = self._numbers.get((unit.site, unit.basis))
        if number is not None and unit.subject in (None, self.subject or None) and unit.step is None:
            block = self.blocks[number]
            place = self._place_in(block, at)
            if place is not None and unit.index < block.n_units:
                return self.firsts[number] + place * block.n_units + unit.index
        raise _not_listed_error(self, str(parsed))

    def _place_in(self, block: Block, at: str | int | None) -> int | None:
        if block.n_places is None or at is None:
            return 0 if block.n_places is None and at is None else None
        if self.spans:
            return self.spans.index(str(at)) if str(at) in self.spans else None
        return at if isinstance(at, int) and at < block.n_places else None

    def places_of(self, block: Block) -> tuple[str, ...]:
        """Return what a block's places are called; ``all`` where its units stand for all of them."""
        return ("all",) if block.n_places is None else self.spans or tuple(map(str, range(block.n_places)))

    def grid(self, site: str, basis: str) -> Int[np.ndarray, "place unit"]:
        """Return where the keys of one block stand, by place and unit.

        Raises:
            PatchclampError: no such block.
        """
        own = self.span(site, basis)
        return np.arange(own.start, own.stop).reshape(-1, self.blocks[self._numbers[site, basis]].n_units)

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of its units, each once."""
        return tuple(dict.fromkeys(block.site for block in self.blocks))

    def at_spans(self, chosen: Sequence[int] | Int[np.ndarray, " some"]) -> "UnitIndex":
        """Return the same units at some of the spans alone, by their numbers."""
        blocks = [replace(block, n_places=block.n_places and len(chosen)) for block in self.blocks]
        return UnitIndex(blocks, self.subject, [self.spans[int(i)] for i in chosen])

    def span(self, site: str, basis: str) -> slice:
        """Return the places of the units of a site in a basis.

        Raises:
            PatchclampError: there are none.
        """
        number = self._numbers.get((site, basis))
        if number is None:
            raise _not_listed_error(self, f"{site}/{basis}")
        return slice(self.firsts[number], self.firsts[number + 1])

    @property
    def parts(self) -> "UnitIndex":
        """The keys without their subject."""
        return UnitIndex(self.blocks, spans=self.spans) if self.subject else self

    def __iter__(self) -> Iterator[str]:
        head = f"{self.subject}/" if self.subject else ""
        for block in self.blocks:
            str(UnitKey(block.site, 0, block.basis))  # checked once
            for end in ("",) if block.n_places is None else (f"@{place}" for place in self.places_of(block)):
                for unit in range(block.n_units):
                    yield f"{head}{block.site}/{block.basis}/{unit}{end}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, UnitIndex):
            return (self.blocks, self.subject, self.spans) == (other.blocks, other.subject, other.spans)
        return self._equals(other)

    __hash__ = None  # type: ignore[assignment]  # equal to tuples, whose hash needs every key

    def to_json(self) -> dict[str, Any]:
        """Return the index as JSON-ready data: its blocks."""
        blocks = [[block.site, block.basis, block.n_units, block.n_places] for block in self.blocks]
        return {"kind": "units", "subject": self.subject, "blocks": blocks, "spans": list(self.spans)}


@checked
class UnitList(_Keys):
    """List the keys of some units, one by one, where they are no whole blocks.

    Args:
        units: their keys, without subject.
        subject: slug that keys begin with; empty for none.

    Raises:
        PatchclampError: a key that is none, or that has a subject of its own.

    Example:
        >>> UnitList(["blocks.0.mlp.act/neurons/7@3"], "cat")[0]
        'cat/blocks.0.mlp.act/neurons/7@3'
    """

    def __init__(self, units: Sequence[str], subject: str = "") -> None:
        self.units, self.subject = tuple(units), subject
        strange = [unit for unit in self.units if UnitKey.parse(unit).subject is not None]
        if strange:
            raise PatchclampError(
                expected="keys without subject", got=strange[0], remedy="Give the subject to the list, once."
            )

    @cached_property
    def _places(self) -> dict[str, int]:
        return {unit: i for i, unit in enumerate(self.units)}

    def __len__(self) -> int:
        return len(self.units)

    def key(self, i: int) -> UnitKey:
        """Return the key at a place.

        Raises:
            IndexError: no such place.
        """
        head = f"{self.subject}/" if self.subject else ""
        return UnitKey.parse(head + self.units[i])

    def unit(self, i: int) -> UnitKey:
        """Return the unit at a place, as ``key`` does.

        Raises:
            IndexError: no such place.
        """
        return self.key(i)

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of its units, each once."""
        return tuple(dict.fromkeys(UnitKey.parse(unit).site for unit in self.units))

    def place(self, key: str | UnitKey) -> int:
        """Return where a key stands; the inverse of ``key``.

        Raises:
            PatchclampError: a key that is not in the list.
        """
        head = f"{self.subject}/" if self.subject else ""
        place = self._places.get(str(key).removeprefix(head))
        if place is None:
            raise _not_listed_error(self, str(key))
        return place

    @property
    def parts(self) -> tuple[str, ...]:
        """The keys without their subject."""
        return self.units

    def __eq__(self, other: object) -> bool:
        if isinstance(other, UnitList):
            return (self.units, self.subject) == (other.units, other.subject)
        return self._equals(other)

    __hash__ = None  # type: ignore[assignment]  # equal to tuples, whose hash needs every key

    def to_json(self) -> dict[str, Any]:
        """Return the index as JSON-ready data: its keys."""
        return {"kind": "list", "subject": self.subject, "units": list(self.units)}


@checked
class EdgeIndex(_Keys):
    """List the keys of edges by two columns: who writes, and who reads.

    Args:
        units: keys of the units that edges join.
        ends: ``(edge, 2)`` places of writer and reader among ``units``.
        subject: slug that keys begin with; empty for none.

    Example:
        >>> EdgeIndex(("embed/whole/0", "final/whole/0"), np.array([[0, 1]]))[0]
        'embed/whole/0->final/whole/0'
    """

    def __init__(self, units: Sequence[str], ends: Int[np.ndarray, "edge 2"], subject: str = "") -> None:
        self.units, self.ends, self.subject = tuple(units), np.asarray(ends, dtype=np.int32), subject

    @cached_property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The keys of who writes and who reads, without their subject."""
        return tuple((self.units[a], self.units[b]) for a, b in self.ends.tolist())

    @cached_property
    def _places(self) -> dict[tuple[int, int], int]:
        return {(int(a), int(b)): i for i, (a, b) in enumerate(self.ends)}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {unit: i for i, unit in enumerate(self.units)}

    def __len__(self) -> int:
        return len(self.ends)

    def key(self, i: int) -> EdgeKey:
        """Return the key at a place.

        Raises:
            IndexError: no such place.
        """
        head = f"{self.subject}/" if self.subject else ""
        source, target = (UnitKey.parse(head + self.units[int(end)]) for end in self.ends[i])
        return EdgeKey(source, target)

    def place(self, key: str | EdgeKey) -> int:
        """Return where a key stands; the inverse of ``key``.

        Raises:
            PatchclampError: a key that is not in the list.
        """
        edge = EdgeKey.parse(key) if isinstance(key, str) else key
        head = f"{self.subject}/" if self.subject else ""
        ends = [self._numbers.get(str(unit).removeprefix(head), -1) for unit in (edge.source, edge.target)]
        place = self._places.get((ends[0], ends[1]))
        if place is None:
            raise _not_listed_error(self, str(edge))
        return place

    def __eq__(self, other: object) -> bool:
        if isinstance(other, EdgeIndex):
            same = (self.units, self.subject) == (other.units, other.subject)
            return same and np.array_equal(self.ends, other.ends)
        return self._equals(other)

    __hash__ = None  # type: ignore[assignment]  # equal to tuples, whose hash needs every key

    def to_json(self) -> dict[str, Any]:
        """Return the index as JSON-ready data, without the columns, which are an array of the bundle."""
        return {"kind": "edges", "subject": self.subject, "units": list(self.units)}


Index = UnitIndex | UnitList | EdgeIndex


def read_index(data: Mapping[str, Any], ends: np.ndarray | None) -> Index:
    """Read an index; the inverse of ``to_json``.

    Raises:
        KeyError, TypeError, ValueError: a part that is missing or of another type.
    """
    subject = data["subject"]
    if not isinstance(subject, str) or (data["kind"] == "edges") != (ends is not None):
        raise ValueError(f"an index of kind {data['kind']!r:.20}")
    if data["kind"] == "units":
        return UnitIndex(
            [Block(*block) for block in data["blocks"]], subject, [str(Span.parse(s)) for s in data["spans"]]
        )
    if data["kind"] == "list":
        return UnitList(data["units"], subject)
    assert ends is not None
    units = [str(UnitKey.parse(unit)) for unit in data["units"]]
    if ends.ndim != 2 or ends.shape[1] != 2 or (ends.size and not 0 <= ends.min() <= ends.max() < len(units)):
        raise ValueError(f"ends of shape {ends.shape}")
    return EdgeIndex(units, ends, subject)


def _not_listed_error(index: Index, got: str) -> PatchclampError:
    return PatchclampError(
        expected=f"a key among {len(index):,}" + (f", such as {index[0]}" if len(index) else ""),
        got=got,
        remedy="Name site, basis and unit, and the position where keys have one.",
    )
