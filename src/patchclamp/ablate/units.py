"""Sets of units (neurons, heads, channels, whole sites, features) that are replaced together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.ablate.baseline import Baseline
from patchclamp.ablate.cases import Cases, How, Measured
from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.keys import UnitIndex
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import Units, count_units
from patchclamp.subjects.cases import ROWS
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.memory import run_in_batches
from patchclamp.subjects.model import Model
from patchclamp.subjects.plain import check_places

MOST = np.iinfo(np.int64).max
COPIES = 6
"""Values of the widest site that one forward pass holds at a time, as the memory estimate counts them."""


@checked
@dataclass(frozen=True, eq=False)
class First:
    """Mark the first keys of an order when marks are read: a set that takes no memory of its own.

    Args:
        ranks: ``(key,)`` of every key, from 0.
        size: how many keys.
        rest: mark all others instead.
    """

    ranks: Int[np.ndarray, " key"]
    size: int
    rest: bool = False
    dtype = np.dtype(bool)

    def __getitem__(self, places: slice | Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Return the marks of some keys."""
        return (self.ranks[places] < self.size) != self.rest


Row = Bool[np.ndarray, " _"] | Int[np.ndarray, " _"] | First
"""A set: a mark for every key, or the places of its keys."""
Rows = Sequence[Row] | Bool[np.ndarray, "_ _"] | Int[np.ndarray, "_ _"]
"""Sets, one a row."""


@dataclass(frozen=True, eq=False)
class Members:
    """Hold the keys that are units of one site in one basis.

    Args:
        path: the site.
        basis: the units' basis there.
        n_units: how many units that has there.
        places: ``(member,)`` places among all keys; a slice where they are a whole block of an index.
        units: ``(member,)`` index in the basis; empty of a block.
        positions: ``(member,)`` positions, −1 for all; empty of a block.
        n_places: positions of a block; None if a unit stands for all of them.
    """

    path: str
    basis: Basis
    n_units: int
    places: Int[np.ndarray, " member"] | slice
    units: Int[np.ndarray, " member"]
    positions: Int[np.ndarray, " member"]
    n_places: int | None = None

    @property
    def size(self) -> int:
        """Keys at the site."""
        return self.places.stop - self.places.start if isinstance(self.places, slice) else len(self.places)

    @property
    def last(self) -> int:
        """The last position that is named; −1 where none is."""
        if isinstance(self.places, slice):
            return -1 if self.n_places is None else self.n_places - 1
        return int(self.positions.max(initial=-1))


@checked
@dataclass(frozen=True, eq=False)
class UnitSets:
    """Hold sets of units.

    Args:
        keys: of units, without a place (everywhere) or with a position; or an index of them, whose keys are not read.
        rows: the sets, each as places among ``keys`` or as a mark for every key; they may be made when they are read.

    Raises:
        PatchclampError: listed rows that are no places of keys, or marks of another number.

    Example:
        >>> sets = UnitSets.of([["blocks.0.mlp.act/neurons/7"], ["blocks.0.mlp.act/neurons/7", "embed/whole/0@1"]])
        >>> list(sets.keys), [row.tolist() for row in sets.rows]
        (['blocks.0.mlp.act/neurons/7', 'embed/whole/0@1'], [[0], [0, 1]])
    """

    keys: Sequence[str | UnitKey] | UnitIndex
    rows: Rows

    def __post_init__(self) -> None:
        n = len(self.keys)
        for row in self.rows if isinstance(self.rows, list | tuple) else ():
            if isinstance(row, First):
                continue
            array = isinstance(row, np.ndarray) and row.ndim == 1 and row.dtype.kind in "biu"
            if not array or (len(row) != n if row.dtype == bool else not np.all((row >= 0) & (row < n))):
                raise PatchclampError(
                    expected=f"sets as arrays of places from 0 to {n - 1}, or of {n} marks",
                    got=f"{row!r:.80}",
                    remedy="`UnitSets.of` makes sets of keys.",
                )

    @classmethod
    def of(cls, sets: Sequence[Sequence[str | UnitKey]]) -> "UnitSets":
        """Return sets that are listed by key."""
        places: dict[str | UnitKey, int] = {}
        rows = [np.array([places.setdefault(key, len(places)) for key in one], dtype=np.int64) for one in sets]
        return cls(list(places), rows)

    def __len__(self) -> int:
        return len(self.rows)

    def memory_bytes(self, model: Model, cases: Cases, batch_size: int = ROWS) -> int:
        """Estimate the bytes of one batch: the baseline's values, and the widest site a few times over.

        Args:
            model: the subject.
            cases: prompts, and m of each.
            batch_size: rows of a forward pass.

        Returns:
            int: bytes besides the model's.
        """
        members = locate_units(model, self.keys)
        longest = max(len(x) for x in cases.shown)
        widths = [max(member.n_units, model.site(member.path).width) for member in members]
        values = min(len(cases), batch_size) * longest * (sum(widths) + COPIES * max(widths))
        return int(values * torch.finfo(model.dtype).bits // 8)

    def check(self, model: Model, cases: Cases, baseline: Baseline) -> None:
        """Refuse what cannot be measured; nothing is run.

        Args:
            model: the subject.
            cases: prompts, and m of each.
            baseline: r.

        Raises:
            PatchclampError: units that the model has not, positions that a case has not, or means of features.
        """
        _check(model, locate_units(model, self.keys), cases, baseline)

    def measure(self, model: Model, cases: Cases, baseline: Baseline, how: How) -> Iterator[Measured]:
        """Yield m of every case with each set replaced, pass by pass; see ``measure_sets``.

        Args:
            model: the subject.
            cases: prompts, and m of each.
            baseline: r.
            how: which sets, whether all others are replaced, and how many rows at once.

        Yields:
            tuple: case and set of each row, ``(row,)``, and m.

        Cost: per batch of cases one run of the counterparts, where these are the baseline, and one of the cases, whose
        residual streams are kept; a row of a forward pass per set and case, restarted at the first block that the set
        changes.
        """
        job = _Job(model, locate_units(model, self.keys), self.rows, how.keep, baseline.kind == "zero")
        _check(model, job.members, cases, baseline)
        starts = job.first_layers
        paths = list(dict.fromkeys(member.path for member in job.members))
        for some in cases.batches(how.batch_size):
            layers = starts if how.only is None else starts[how.only[some].any(0)]
            if not len(layers):
                continue
            own = [cases.shown[int(i)] for i in some]
            there = baseline.rows(model, paths, some, len(own[0]))
            sites = [f"blocks.{layer}.resid_in" for layer in np.unique(layers) if layer > 0]
            streams = model.run(own, record=sites, logits=False).recording if sites else None
            for layer in np.unique(layers):
                n, most, pick = _rows_together(np.flatnonzero(starts == layer), len(own), how, some)
                residual = None
                if layer > 0 and streams is not None:
                    residual = streams[f"blocks.{layer}.resid_in"].unflatten(0, (len(own), -1))
                batch = _Batch(job, cases, some, there, int(layer), residual, pick)
                yield from run_in_batches(n, most, batch.measure)


Pick = Callable[[int, int], tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"] | None]]
"""Returns the sets of a run of rows, each on all of some cases; or the set of every row, and its case."""


def _rows_together(
    sets: Int[np.ndarray, " set"], n_cases: int, how: How, some: Int[np.ndarray, " some"]
) -> tuple[int, int, Pick]:
    """Return how many rows there are of sets that begin at one block, how many run together, and what picks them."""
    if how.only is None:
        return len(sets), max(1, how.batch_size // n_cases), lambda first, end: (sets[first:end], None)
    which, cells = np.nonzero(how.only[np.ix_(some, sets)].T)
    return len(which), how.batch_size, lambda first, end: (sets[which[first:end]], cells[first:end])


@dataclass(frozen=True, eq=False)
class _Batch:
    """Sets that begin at one block, and some cases of one length."""

    job: "_Job"
    cases: Cases
    some: Int[np.ndarray, " some"]
    there: Mapping[str, Tensor]
    layer: int
    residual: Float[Tensor, "some position d_model"] | None
    pick: Pick

    def measure(self, first: int, end: int) -> Measured:
        """Return m of a run of rows, in one forward pass from the block on."""
        n = len(self.some)
        sets, cells = self.pick(first, end)
        rows = np.tile(np.arange(n), len(sets)) if cells is None else cells
        restart = None
        if self.residual is not None:
            restart = Restart(self.layer, self.residual[torch.from_numpy(rows).to(self.residual.device)])
        changes = list(self.job.changes(sets, self.there, n if cells is None else cells))
        own = self.some[rows]
        shown, metric = [self.cases.shown[int(i)] for i in own], self.cases.metric(own)
        values = self.job.model.measure(shown, metric, interventions=changes, restart=restart)
        own_sets = np.repeat(sets, n) if cells is None else sets
        return own, own_sets, upcast(values).cpu().double().numpy()


@checked
def locate_units(model: Model, keys: Sequence[str | UnitKey] | UnitIndex) -> list[Members]:
    """Group keys by site and basis, in forward order.

    Args:
        model: the subject whose units they are.
        keys: with a position or without.

    Raises:
        PatchclampError: no such site, basis or unit, or a generation step.
    """
    if isinstance(keys, UnitIndex):
        located = [_of_block(model, keys, number) for number in range(len(keys.blocks))]
    else:
        rows: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        for place, part in enumerate(keys):
            key = UnitKey.parse(part) if isinstance(part, str) else part
            if key.step is not None or key.subject not in (None, model.name):
                raise PatchclampError(
                    expected=f"units of {model.name}, at positions of the prompt or everywhere",
                    got=str(part),
                    remedy="Name units of this model.",
                )
            at = -1 if key.position is None else key.position
            rows.setdefault((key.site, key.basis), []).append((place, key.index, at))
        located = []
        for (path, name), own in rows.items():
            basis = model.basis_at(path, name)
            places, units, positions = np.array(own, dtype=np.int64).T
            located.append(Members(path, basis, count_units(basis, model.site(path)), places, units, positions))
    for member in located:
        beyond = member.units.max(initial=-1) >= member.n_units
        if beyond or (isinstance(member.places, slice) and member.size != member.n_units * (member.n_places or 1)):
            raise PatchclampError(
                expected=f"units 0 to {member.n_units - 1} at {member.path}",
                got=str(member.units.max()) if beyond else f"{member.size} keys",
                remedy="Name units of this model.",
            )
    forward = {site.path: i for i, site in enumerate(model.sites())}
    return sorted(located, key=lambda member: forward.get(member.path, len(forward)))


def _of_block(model: Model, index: UnitIndex, number: int) -> Members:
    block, first = index.blocks[number], index.firsts[number]
    if index.subject not in ("", model.name):
        raise PatchclampError(
            expected=f"units of {model.name}", got=f"units of {index.subject}", remedy="Name units of this model."
        )
    basis, none = model.basis_at(block.site, block.basis), np.zeros(0, dtype=np.int64)
    n_units = count_units(basis, model.site(block.site))
    return Members(block.site, basis, n_units, slice(first, first + block.size), none, none, block.n_places)


def _check(model: Model, members: Sequence[Members], cases: Cases, baseline: Baseline) -> None:
    """Refuse positions that a case has not, and means of features.

    Raises:
        PatchclampError: there are some.
    """
    placed = [member for member in members if member.last >= 0]
    if len(cases) > 1:
        paths = [member.path for member in placed]
        check_places(model, paths, len(cases.shown[0]), "Name units without a position.")
    shortest = min(map(len, cases.shown))
    for member in placed:
        limit = model.site(member.path).n_places or shortest
        if member.last >= limit:
            raise PatchclampError(
                expected=f"positions below {limit}, the shortest prompt's tokens",
                got=f"position {member.last} at {member.path}",
                remedy="Name units without a position, or cases of one length.",
            )
    featured = [member.path for member in members if member.basis.kind == "directions"]
    if baseline.kind == "mean" and featured:
        raise PatchclampError(
            expected="zero or the counterparts as the baseline of features",
            got=f"a mean, and features at {featured[0]}",
            remedy="What a basis reads in a mean is not its features' mean: leave --baseline out.",
        )


@dataclass(frozen=True, eq=False)
class _Job:
    """Units, by site, and the sets of them."""

    model: Model
    members: list[Members]
    rows: Rows
    keep: bool
    zero: bool

    @cached_property
    def _located(self) -> tuple[np.ndarray, np.ndarray]:
        """Members in the order of their blocks, with the first place of each; else of every key its member and row."""
        if all(isinstance(member.places, slice) for member in self.members):
            firsts = np.array([member.places.start for member in self.members])  # type: ignore[union-attr]
            order = np.argsort(firsts)
            return order, firsts[order]
        n = sum(member.size for member in self.members)
        numbers, at = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)  # of every key: member, row there
        for number, member in enumerate(self.members):
            numbers[member.places] = number
            at[member.places] = np.arange(member.size)
        return numbers, at

    def _locate(self, places: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the member of each of some keys, and its place there."""
        first, second = self._located
        if not any(isinstance(member.places, slice) for member in self.members):
            return first[places], second[places]
        numbers = np.searchsorted(second, places, side="right") - 1
        return first[numbers], places - second[numbers]

    @cached_property
    def _listed(self) -> Int[np.ndarray, "3 key"]:
        """Set, member and place there of every key of the sets that list their keys."""
        listed = [(i, row) for i, row in enumerate(self.rows) if row.dtype != bool]
        if not listed:
            return np.zeros((3, 0), dtype=np.int64)
        sets = np.repeat([i for i, _ in listed], [len(row) for _, row in listed])
        return np.stack([sets, *self._locate(np.concatenate([row for _, row in listed]).astype(np.int64))])

    def _own(self, k: int, sets: Int[np.ndarray, " row"]) -> Bool[np.ndarray, "row member"]:
        """Return which keys of one site are replaced in each of some sets."""
        own = np.zeros((len(sets), self.members[k].size), dtype=bool)
        firsts, ends = (np.searchsorted(self._listed[0], sets, side=side) for side in ("left", "right"))
        for mark, i, first, end in zip(own, sets, firsts, ends, strict=True):
            if self.rows[i].dtype == bool:
                mark[:] = self.rows[i][self.members[k].places]
            elif end > first:
                _, members, at = self._listed[:, first:end]
                mark[at[members == k]] = True
        return ~own if self.keep else own

    @cached_property
    def touched(self) -> Bool[np.ndarray, "set member"]:
        """At which members each set replaces something."""
        changed = np.zeros((len(self.rows), len(self.members)), dtype=bool)
        changed[self._listed[0], self._listed[1]] = True
        for i, row in enumerate(self.rows):
            if row.dtype == bool or self.keep:
                changed[i] = [self._own(k, np.array([i])).any() for k in range(len(self.members))]
        return changed

    @cached_property
    def first_layers(self) -> Int[np.ndarray, " set"]:
        """The first block that each set changes."""
        layers = [self.model.first_layer(member.path) if self.model.restarts else 0 for member in self.members]
        first = np.where(self.touched, np.array(layers, dtype=np.int64)[None], MOST).min(1, initial=MOST)
        return np.where(self.touched.any(1), first, 0)

    def changes(
        self, sets: Int[np.ndarray, " row"], there: Mapping[str, Tensor], cells: Int[np.ndarray, " row"] | int
    ) -> Iterator[Intervention]:
        """Yield a change for every site that any of some sets has units at.

        Args:
            sets: by row.
            there: by site what is put in.
            cells: the case of each row; or how many cases stand beside each set.
        """
        for k in np.flatnonzero(self.touched[sets].any(0)).tolist():
            yield self._change(k, self._own(k, sets), there[self.members[k].path], cells)

    def _change(
        self,
        k: int,
        own: Bool[np.ndarray, "row member"],
        value: Float[Tensor, "..."],
        cells: Int[np.ndarray, " row"] | int,
    ) -> Intervention:
        """Return what puts the baseline in the place of units at one site, of each set its own."""
        member = self.members[k]
        if isinstance(member.places, slice):
            # A whole block of an index: keys are positions by units already.
            mask = torch.from_numpy(own).view(len(own), member.n_places or 1, member.n_units)
        else:
            mask = torch.zeros(len(own), value.shape[-2], member.n_units, dtype=torch.bool)
            everywhere = member.positions < 0  # a unit without a position is marked at all of them
            mask[:, :, member.units[everywhere]] = torch.from_numpy(own[:, everywhere])[:, None]
            mask[:, member.positions[~everywhere], member.units[~everywhere]] |= torch.from_numpy(own[:, ~everywhere])
        used = mask.any(0).any(0).nonzero()[:, 0]  # (unit in any set,), from (set, position, unit)
        # Most often few units of a site are in any of the sets: only their values are laid out.
        some = None if len(used) > member.n_units // 2 else tuple(used.tolist())
        units = Units(member.basis, self.model.site(member.path), some)
        columns = units.columns(value.shape[-1])
        # What is put in: the units' columns of the baseline, zeros, or the features of the baseline.
        if columns is not None:
            value = value if some is None else value[..., columns.to(value.device)]
        elif self.zero:
            value = value.new_zeros(1).expand(*value.shape[:-1], len(units.chosen_units()))
        else:
            value = units.encode(value.flatten(0, -2)).unflatten(0, value.shape[:-1])
        mask = (mask if some is None else mask[..., used]).to(value.device)
        if isinstance(cells, int):
            # Sets, and cases within: neither is repeated for the other.
            value, mask = value.expand(cells, *value.shape[-2:]), mask[:, None]  # (case, …), (set, 1, position, unit)
        elif value.ndim > 2:
            value = value[torch.from_numpy(cells).to(value.device)]
        return Intervention(member.path, "rows", some, member.basis.name, value=value, mask=mask)
