"""Interventions carried out on tensors."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention, Span
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.subjects.bases import Units, count_units
from patchclamp.subjects.batch_rows import as_numbers_like, check_layout, check_row_count, put_rows, select_rows
from patchclamp.subjects.conditions import bind_condition, holds_at


@dataclass(frozen=True, eq=False)
class TokenPositions:
    """Where in the stimuli the columns of the current forward pass lie.

    Args:
        logical: ``(batch, position)`` logical position of every column so far, cached ones included; −1 at padding.
        prompt: ``(batch,)`` length of each prompt; a generated token's step is its logical position minus this.
        stimuli: what was shown, where known.
    """

    logical: Int[Tensor, "batch position"]
    prompt: Int[Tensor, " batch"]
    stimuli: Sequence[Shown] = ()

    def columns(self, n: int) -> Int[Tensor, "batch n"]:
        """Return the logical positions of the newest ``n`` columns."""
        return self.logical[:, -n:]


@dataclass(frozen=True, eq=False)
class Edit:
    """One intervention bound to a site and to rows of the batch.

    Args:
        intervention: what to do.
        units: the units it names.
        rows: ``(k,)`` the rows it applies to; None for all.
        condition: the unit that its condition reads; None without a condition, or where that reads a direction.
    """

    intervention: Intervention
    units: Units
    rows: tuple[int, ...] | None
    condition: Units | None = None

    def where(self, shape: torch.Size, frame: TokenPositions | None, device: torch.device) -> Bool[Tensor, "..."]:
        """Return which vectors of a ``shape`` + (width,) batch the edit changes.

        Returns:
            Bool[Tensor, "..."]: ``shape``; true where f becomes f′.
        """
        chosen = torch.ones(shape[:1], dtype=torch.bool, device=device)
        if self.rows is not None:
            chosen = torch.zeros_like(chosen)
            chosen[list(self.rows)] = True
        at = self.intervention.at
        if len(shape) == 1:
            return chosen
        if frame is None:
            return chosen.view(-1, *[1] * (len(shape) - 1)).expand(shape)
        logical = frame.columns(shape[1]).to(device)  # (row, column); −1 is padding
        seen = logical >= 0
        if at is not None:
            seen = seen & _logical_at(at, logical, frame.prompt.to(device)[:, None])
        source = self.intervention.source
        if source is not None and source.positions is not None:
            mapped = torch.isin(logical, torch.tensor(list(source.positions), device=device))
            if at is not None and bool((chosen[:, None] & seen & ~mapped).any()):
                raise PatchclampError(
                    expected="every position of `at` in the source's map",
                    got=f"positions {sorted(source.positions)} mapped, {', '.join(map(str, at))} named",
                    remedy="Leave `at` out: the map already says which positions change.",
                )
            seen = seen & mapped
        return chosen[:, None] & seen  # (row, column)

    def replacement(
        self,
        old: Float[Tensor, "n k"],
        rows: Int[Tensor, " n"],
        logical: Int[Tensor, " n"],
        frame: TokenPositions | None,
    ) -> Tensor:
        """Return f′ for f = ``old``: the units' values at the chosen vectors, blocks flattened.

        Returns:
            Tensor: ``(n, units · block)``, of the dtype and device of ``old``.
        """
        do = self.intervention
        if do.operation in ("set", "add", "scale"):
            value = _shape_value(do.value, old, len(self.units.chosen_units()))  # (1,) or (units · block,)
            return {"set": lambda: value.expand_as(old), "add": lambda: old + value, "scale": lambda: old * value}[
                do.operation
            ]()
        if do.operation in ("ablate", "project") and do.source is None:
            return torch.zeros_like(old)
        return self._read(self._values_recorded(old, rows, logical, frame))

    def _read(self, x: Tensor) -> Tensor:
        columns = self.units.columns(x.shape[-1])
        return self.units.encode(x) if columns is None else x[:, columns.to(x.device)]

    def _values_recorded(self, old: Tensor, rows: Tensor, logical: Tensor, frame: TokenPositions | None) -> Tensor:
        """Return the ``(n, width)`` values that the source holds for the chosen vectors."""
        do = self.intervention
        source = do.source
        assert source is not None
        if do.mode == "mean" and do.operation == "ablate":
            mean = torch.as_tensor(source.values.mean(do.site), dtype=old.dtype, device=old.device)
            # (width,) of all positions together, or (position, width): each vector gets that of its own position.
            return mean.expand(len(rows), -1) if mean.ndim == 1 else mean[_columns_reached(logical, len(mean), do)]
        if do.operation == "patch":
            target = logical
            if source.positions is not None:
                target = torch.tensor([source.positions[int(p)] for p in logical], device=logical.device)
            values = _as_tensor(source.values.of(do.site, source.stimulus), old)  # (position, width)
            return values[_columns_reached(target, len(values), do)]
        # Rows and positions are few and repeat: each pair is drawn once.
        picked: dict[tuple[int, int], Tensor] = {}
        for row in sorted(set(rows.tolist())):
            own = frame.stimuli[row].id if frame is not None and row < len(frame.stimuli) else ""
            picked |= {
                (row, at): x
                for at, x in self._values_drawn(old, own, sorted(set(logical[rows == row].tolist()))).items()
            }
        return torch.stack([picked[int(r), int(p)] for r, p in zip(rows, logical, strict=True)])

    def _values_drawn(self, old: Tensor, own: str, places: Sequence[int]) -> dict[int, Tensor]:
        """Return another stimulus' values at each place: the first, in an order drawn from the seed, that reaches it.

        The order depends on nothing else, so neither the batch nor text that grows changes an earlier choice.
        """
        do, source = self.intervention, self.intervention.source
        assert source is not None
        donors = source.values.donors(do.site, places[0], own)
        donors = sorted(donors, key=lambda i: random.Random(f"{source.seed}/{own}/{i}").random())
        by_place: dict[int, Tensor] = {}
        for donor in donors:
            left = [p for p in places if p not in by_place]
            if not left:
                break
            values = _as_tensor(source.values.of(do.site, donor), old)
            by_place |= {p: values[p] for p in left if p < len(values)}
        if len(by_place) < len(places):
            raise PatchclampError(
                expected=f"another stimulus that reaches position {places[-1]}",
                got="none in the source recording",
                remedy="Record longer or more stimuli, or ablate to mean or zero.",
            )
        return by_place


@dataclass(frozen=True, eq=False)
class Edits:
    """All edits of one run, by site, in list order.

    Args:
        by_site: path to its edits.
        n_rows: rows of the batch, where each has a list of its own; 0 where one list is for all.
        shown: the rows of the batch, for a network whose frames nobody gives.
        seen: what the sites that conditions of other sites read did in this forward pass.
    """

    by_site: Mapping[str, Sequence[Edit]]
    n_rows: int = 0
    shown: Sequence[Shown] = ()
    seen: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def paths(self) -> list[str]:
        """Return the sites that change."""
        return list(self.by_site)

    def check(self, lengths: Sequence[int], *, steps: bool) -> None:
        """Refuse a change that would silently do nothing, and values for other rows than there are.

        Args:
            lengths: tokens of each prompt.
            steps: whether anything is generated.

        Raises:
            PatchclampError: a run of positions lies outside every prompt that it applies to, or names steps in vain.
        """
        for edit in (edit for edits in self.by_site.values() for edit in edits):
            own = range(len(lengths)) if edit.rows is None else edit.rows
            _refuse_vain(edit, max(lengths[i] for i in own), steps=steps)
            if edit.intervention.operation == "rows":
                check_row_count(edit.intervention, len(own))

    def apply(self, x: Tensor, site: Site, frame: TokenPositions | None) -> Tensor:
        """Return x changed by the site's edits, each seeing the previous one's result; x itself is left alone.

        Args:
            x: values in the site's layout, batch first.
            site: where.
            frame: where the columns lie; None for networks without positions.

        Returns:
            Tensor: of the shape of x; x itself where nothing acts.
        """
        if not self.by_site[site.path]:
            # A copy: the module after it may work in place.
            self.seen[site.path] = x.movedim(site.unit_axis, -1).clone()
            return x
        y = x.movedim(site.unit_axis, -1).clone()
        self._check_rows(y, site)
        if frame is None and y.ndim <= 3:
            frame = self._frame(y, site)
        for edit in self.by_site[site.path]:
            where = edit.where(y.shape[:-1], frame, y.device)
            if edit.intervention.when is not None:
                where = where & self._holds(edit, y)
            index = where.nonzero(as_tuple=True)
            if len(index[0]) == 0:
                continue
            logical = index[1] if len(index) > 1 else torch.zeros_like(index[0])
            if frame is not None and len(index) > 1:
                logical = frame.columns(y.shape[1]).to(y.device)[index[0], index[1]]
            _change(y, edit, index, logical, frame)
        if any(site.path == path for path in self._read):
            self.seen[site.path] = y
        return y.movedim(-1, site.unit_axis)

    @cached_property
    def _read(self) -> list[str]:
        """Other sites that conditions read."""
        edits = (edit.intervention for edits in self.by_site.values() for edit in edits)
        return [do.when.site for do in edits if do.when is not None and do.when.site not in (None, do.site)]

    def _holds(self, edit: Edit, y: Tensor) -> Bool[Tensor, "..."]:
        """Return at which vectors an edit's condition holds."""
        do, when = edit.intervention, edit.intervention.when
        assert when is not None
        x = y if when.site in (None, do.site) else self.seen.get(str(when.site))
        if x is None or x.shape[:-1] != y.shape[:-1]:
            raise PatchclampError(
                expected=f"a condition that reads a site before {do.site}, with a vector for each of its vectors",
                got=f"{when.site}, "
                + ("not seen yet" if x is None else f"{tuple(x.shape[:-1])} and not {tuple(y.shape[:-1])}"),
                remedy="Read an earlier site with the same positions, or the changed site itself (leave `site` out).",
            )
        return holds_at(when, edit.condition, x).view(y.shape[:-1]).to(y.device)

    def _check_rows(self, y: Tensor, site: Site) -> None:
        """Refuse changes of some rows, or by place, where the first axis is not the batch."""
        expected = len(self.shown) or self.n_rows
        if expected in (0, len(y)):
            return
        for edit in self.by_site[site.path]:
            do = edit.intervention
            if edit.rows is not None or do.at is not None or do.source is not None or do.operation == "rows":
                raise PatchclampError(
                    expected=f"{expected} rows at {site.path}, one per stimulus, to change some of them",
                    got=f"shape {tuple(y.shape)}, whose first axis is something else",
                    remedy="Give one list per row of the batch; where the module mixes rows, change it as a whole.",
                )

    def _frame(self, y: Tensor, site: Site) -> TokenPositions:
        """Return the frame of a network that nobody gives one: every row has all columns.

        Raises:
            PatchclampError: a place that is not there.
        """
        n = y.shape[1] if y.ndim == 3 else 1
        for edit in self.by_site[site.path]:
            _refuse_vain(edit, n, steps=False)
        columns = torch.arange(n, device=y.device)
        return TokenPositions(columns.expand(len(y), n), torch.full((len(y),), n, device=y.device), self.shown)


def _refuse_vain(edit: Edit, length: int, *, steps: bool) -> None:
    """Refuse places of a change at which there is nothing to change."""
    do = edit.intervention
    places = f"a position from 0 to {length - 1} (or −1 to −{length}) of the prompt"
    for span in do.at or ():
        if span.steps and steps:
            continue
        start = span.start + length if span.start < 0 else span.start
        stop = length if span.stop is None else span.stop + length if span.stop < 0 else span.stop
        if span.steps or start < 0 or start >= length or stop <= start:
            raise PatchclampError(
                expected="generation steps only where text is generated" if span.steps else places,
                got=f"{span} at {do.site}",
                remedy="Generated tokens are steps: +0 is the first.",
            )
    given = do.value.shape[-2] if do.operation == "rows" else length
    if given > length and not steps:
        raise PatchclampError(
            expected=f"values of at most {length} positions at {do.site}", got=f"{given}", remedy="Align the prompts."
        )
    mapped = () if steps or do.source is None else do.source.positions or ()
    beyond = [p for p in mapped if p >= length]
    if beyond:
        raise PatchclampError(
            expected=places,
            got=f"position {beyond[0]} in the source's map, at {do.site}",
            remedy="The map goes from a position of this run to one of the recording.",
        )


def _change(y: Tensor, edit: Edit, index: tuple[Tensor, ...], logical: Tensor, frame: TokenPositions | None) -> None:
    """Write one edit into y, in place: y is the engine's own copy."""
    rows = index[0]
    if edit.intervention.operation == "rows":
        check_row_count(edit.intervention, len(y) if edit.rows is None else 1)
        put_rows(y, edit.intervention, edit.units, index, logical, alone=edit.rows is not None)
        return
    if edit.intervention.operation == "call":
        assert edit.intervention.fn is not None
        old = y[index]
        new = edit.intervention.fn(old)
        if not isinstance(new, Tensor) or new.shape != old.shape:
            raise PatchclampError(
                expected=f"a function that returns a tensor of the shape it is given, {tuple(old.shape)}",
                got=f"{type(new).__name__} of shape {tuple(getattr(new, 'shape', ()))}, at {edit.intervention.site}",
                remedy="Return all values, changed or not.",
            )
        y[index] = new
        return
    columns = edit.units.columns(y.shape[-1])
    if columns is not None:
        spot = (*(i[:, None] for i in index), columns.to(y.device)[None])  # broadcasts to (n, k)
        y[spot] = edit.replacement(y[spot], rows, logical, frame)
        return
    x = y[index]  # (n, width)
    directions = edit.units.directions(x)  # (k, width)
    if edit.intervention.operation == "project":
        # x − x Dᵀ (D Dᵀ)⁻¹ D, through the pseudo-inverse so that dependent directions do no harm
        y[index] = x - x @ torch.linalg.pinv(upcast(directions)).to(x.dtype) @ directions
        return
    f = edit.units.encode(x)  # (n, k)
    # The change alone is decoded: what the basis does not explain of x stays as it was.
    y[index] = x + (edit.replacement(f, rows, logical, frame) - f) @ directions


def pick_rows(interventions: Sequence[Any], rows: Sequence[int]) -> Sequence[Any]:
    """Return the interventions of some rows of a batch: their own lists, or one list whose values are theirs."""
    if by_row(interventions):
        return [interventions[i] for i in rows]
    return [select_rows(do, rows) if isinstance(do, Intervention) else do for do in interventions]


def by_row(interventions: Any) -> bool:
    """Return whether interventions are a list for each row, not one list for all.

    Raises:
        PatchclampError: no list at all.
    """
    if not isinstance(interventions, list | tuple):
        raise PatchclampError(
            expected="a list of interventions", got=f"{interventions!r:.80}", remedy="Put it in a list: [pc.change(…)]."
        )
    return any(isinstance(item, list | tuple) for item in interventions)


def bind(interventions: Sequence[Any], n_rows: int, find: Mapping[str, Site], bases: Mapping[str, Basis]) -> Edits:
    """Bind interventions to sites and rows.

    Args:
        interventions: one list for every row, or a list per row.
        n_rows: rows of the batch.
        find: site path to Site.
        bases: basis name, or site path and name, to Basis.

    Returns:
        Edits: by path of the site, in the order of the list.

    Raises:
        PatchclampError: an unknown basis, a unit out of range, or another number of lists than rows.
        CannotIntervene: the site is read-only.
    """
    per_row = by_row(interventions)
    if per_row and len(interventions) != n_rows:
        raise PatchclampError(
            expected=f"one list of interventions per row, {n_rows} in all",
            got=f"{len(interventions)} lists",
            remedy="Give one flat list for all rows, or one list per prompt.",
        )
    if per_row and not all(isinstance(item, list | tuple) for item in interventions):
        raise PatchclampError(
            expected="one flat list of interventions, or one list per row",
            got="a mixture",
            remedy="Put each row's interventions in a list of its own; an empty list leaves a row alone.",
        )
    lists = [((i,), items) for i, items in enumerate(interventions)] if per_row else [(None, interventions)]
    by_site: dict[str, list[Edit]] = {}
    for rows, items in lists:
        for item in items:
            if not isinstance(item, Intervention):
                raise PatchclampError(
                    expected="interventions", got=type(item).__name__, remedy="Build them with pc.change or pc.clamp."
                )
            site = find[item.site]
            if not site.writable:
                raise CannotIntervene(
                    expected="a writable site",
                    got=f"{site.path}, which can only be read",
                    remedy="Change a site that feeds it.",
                )
            if item.at is not None and "position" not in site.axes and not site.places:
                raise CannotIntervene(
                    expected="a site with positions where `at` is given",
                    got=f"{site.path}, with axes {', '.join(site.axes)}",
                    remedy="Leave `at` out: the change then holds everywhere.",
                )
            if item.source is not None and "channel" in site.axes and not site.places:
                raise CannotIntervene(
                    expected=f"zero ablation, set, add, scale or call at {site.path}",
                    got=f"{item.operation} from a source",
                    remedy="A recording's channels have no one value to put in; give the value itself.",
                )
            if item.operation == "rows" and (site.ragged or ("channel" in site.axes and not site.places)):
                raise CannotIntervene(
                    expected=f"a site with a vector at every position, to set rows at {site.path}",
                    got=f"axes {', '.join(site.axes)}" if not site.ragged else "a vector for some tokens alone",
                    remedy="Set, add or scale there, or set rows of the site that encloses it.",
                )
            if item.source is not None and site.ragged:
                raise CannotIntervene(
                    expected=f"zero ablation, set, add, scale or call at {site.path}",
                    got=f"{item.operation} from a source",
                    remedy="Another run may route other tokens there; give the value itself.",
                )
            basis = bases.get(f"{site.path}/{item.basis}", bases.get(item.basis))
            if basis is None:
                raise PatchclampError(
                    expected=f"a basis among {', '.join(bases)}",
                    got=repr(item.basis),
                    remedy="Add it with subject.add_basis or add_dictionary; on the command line --basis DIR.",
                )
            if basis.reads is not None:
                raise CannotIntervene(
                    expected="a basis that reads the site that it writes",
                    got=f"{basis.name}, which reads {basis.reads} and writes {site.path}",
                    remedy="Clamp features of a sparse autoencoder at that site, or neurons.",
                )
            edit = _bind_one(item, basis, site, rows, find, bases)
            if edit is not None:
                by_site.setdefault(site.path, []).append(edit)
    # Sites that conditions read are visited too, without a change.
    for when in [edit.intervention.when for own in by_site.values() for edit in own]:
        if when is not None and when.site is not None:
            by_site.setdefault(when.site, [])
    return Edits(by_site, len(lists) if per_row else 0)


def _bind_one(
    item: Intervention,
    basis: Basis,
    site: Site,
    rows: tuple[int, ...] | None,
    find: Mapping[str, Site],
    bases: Mapping[str, Basis],
) -> Edit | None:
    """Return an intervention bound to a site; None where it keeps every unit there is."""
    units = Units(basis, site, item.units)
    condition = None if item.when is None else bind_condition(item.when, site, find, bases)
    if item.operation == "rows":
        check_layout(item, units)
    elif item.operation == "keep":
        kept = set(units.chosen_units())
        others = tuple(i for i in range(count_units(basis, site)) if i not in kept)
        if not others:
            return None
        units = Units(basis, site, others)
        if item.mode == "patch":
            item = replace(item, operation="patch", mode="zero", units=None)
        else:
            item = replace(item, operation="ablate", units=None)
    return Edit(item, units, rows, condition)


def upcast(x: Tensor) -> Tensor:
    """Return half-precision values as float32, wider ones as they are."""
    return x.float() if torch.finfo(x.dtype).bits < 32 else x


def _logical_at(at: tuple[Span, ...], logical: Tensor, prompt: Tensor) -> Tensor:
    """Return which columns lie in one of some spans: ``(row, column)`` positions → mask."""
    inside = torch.zeros_like(logical, dtype=torch.bool)
    for span in at:
        # Generated steps are counted from the prompt's end, negative positions back from it.
        place = logical - prompt if span.steps else logical
        low: Any = span.start if span.steps or span.start >= 0 else span.start + prompt
        high: Any = span.stop
        if span.steps:
            high = torch.iinfo(torch.int64).max if high is None else high
        else:
            # Positions are the prompt's: a run that is open, or longer than the prompt, ends with it.
            high = prompt if high is None else (high + prompt if high < 0 else prompt.clamp(max=high))
        inside |= (place >= low) & (place < high) & (place >= 0)
    return inside


def _shape_value(value: Any, old: Tensor, n_units: int) -> Tensor:
    """Shape a value for ``(n, units · block)``: one number, one per unit, or one per column."""
    tensor = as_numbers_like(value, old)
    width = old.shape[-1]
    if tensor.ndim == 1 and len(tensor) == n_units and n_units != width:
        tensor = tensor.repeat_interleave(width // n_units)  # a head's number holds for its whole block
    flat = tensor.flatten() if tensor.ndim else tensor
    if tensor.ndim and len(flat) not in (1, width):
        raise PatchclampError(
            expected=f"a number, {n_units} (one per unit) or {width} (one per column) values",
            got=f"{tuple(tensor.shape)}",
            remedy="`set` on a head takes a vector of the head's width.",
        )
    return flat


def _columns_reached(places: Tensor, length: int, do: Intervention) -> Tensor:
    """Return positions in a source of so many; refuse those behind its end."""
    if len(places) and int(places.max()) >= length:
        raise PatchclampError(
            expected=f"positions below {length}, where the source of {do.operation} at {do.site} ends",
            got=f"position {int(places.max())}",
            remedy="Align the prompts, or say with `at` or `positions` which positions to change.",
        )
    return places


def _as_tensor(values: Any, like: Tensor) -> Tensor:
    if not isinstance(values, Tensor):
        values = torch.as_tensor(values.astype("float32"))
    return values.to(dtype=like.dtype, device=like.device)
