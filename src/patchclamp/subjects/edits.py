"""Edits: interventions carried out on tensors."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.errors import CannotIntervene, PatchclampError
from patchclamp.core.intervention import Intervention, Span
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Shown
from patchclamp.subjects.bases import Units


@dataclass(frozen=True, eq=False)
class Frame:
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
    """

    intervention: Intervention
    units: Units
    rows: tuple[int, ...] | None

    def where(self, shape: torch.Size, frame: Frame | None, device: torch.device) -> Bool[Tensor, "..."]:
        """Return which vectors of a ``shape`` + (width,) batch the edit changes."""
        chosen = torch.ones(shape[:1], dtype=torch.bool, device=device)
        if self.rows is not None:
            chosen = torch.zeros_like(chosen)
            chosen[list(self.rows)] = True
        at = self.intervention.at
        if len(shape) == 1:
            return chosen
        if frame is None:
            if at is None:
                return chosen.view(-1, *[1] * (len(shape) - 1)).expand(shape)
            n = shape[1]
            frame = Frame(torch.arange(n, device=device).expand(shape[0], n), torch.full(shape[:1], n, device=device))
        logical = frame.columns(shape[1]).to(device)
        seen = logical >= 0
        if at is not None:
            seen = seen & _within(at, logical, frame.prompt.to(device)[:, None])
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
        return chosen[:, None] & seen

    def replacement(
        self, old: Float[Tensor, "n k"], rows: Int[Tensor, " n"], logical: Int[Tensor, " n"], frame: Frame | None
    ) -> Tensor:
        """Return f′ for f = ``old``: the units' values at the chosen vectors, blocks flattened."""
        do = self.intervention
        if do.operation in ("set", "add", "scale"):
            value = _spread(do.value, old, len(self.units.chosen()))
            return {"set": lambda: value.expand_as(old), "add": lambda: old + value, "scale": lambda: old * value}[
                do.operation
            ]()
        if do.operation in ("ablate", "project") and do.source is None:
            return torch.zeros_like(old)
        return self._read(self._recorded(old, rows, logical, frame))

    def _read(self, x: Tensor) -> Tensor:
        columns = self.units.columns(x.shape[-1])
        return self.units.encode(x) if columns is None else x[:, columns.to(x.device)]

    def _recorded(self, old: Tensor, rows: Tensor, logical: Tensor, frame: Frame | None) -> Tensor:
        """Return the ``(n, width)`` values that the source holds for the chosen vectors."""
        do = self.intervention
        source = do.source
        assert source is not None
        if do.mode == "mean" and do.operation == "ablate":
            mean = torch.as_tensor(source.values.mean(do.site), dtype=old.dtype, device=old.device)
            return mean.expand(len(rows), -1) if mean.ndim == 1 else mean[_reach(logical, len(mean), do)]
        if do.operation == "patch":
            target = logical
            if source.positions is not None:
                target = torch.tensor([source.positions[int(p)] for p in logical], device=logical.device)
            values = _as_tensor(source.values.of(do.site, source.stimulus), old)
            return values[_reach(target, len(values), do)]
        picked: dict[tuple[int, int], Tensor] = {}
        for row in sorted(set(rows.tolist())):
            own = frame.stimuli[row].id if frame is not None and row < len(frame.stimuli) else ""
            picked |= {
                (row, at): x for at, x in self._drawn(old, own, sorted(set(logical[rows == row].tolist()))).items()
            }
        return torch.stack([picked[int(r), int(p)] for r, p in zip(rows, logical, strict=True)])

    def _drawn(self, old: Tensor, own: str, places: Sequence[int]) -> dict[int, Tensor]:
        """Return another stimulus' values at each place: the first, in an order drawn from the seed, that reaches it.

        The order depends on nothing else, so neither the batch nor text that grows changes an earlier choice.
        """
        do, source = self.intervention, self.intervention.source
        assert source is not None
        donors = source.values.donors(do.site, places[0], own)
        donors = sorted(donors, key=lambda i: random.Random(f"{source.seed}/{own}/{i}").random())
        found: dict[int, Tensor] = {}
        for donor in donors:
            left = [p for p in places if p not in found]
            if not left:
                break
            values = _as_tensor(source.values.of(do.site, donor), old)
            found |= {p: values[p] for p in left if p < len(values)}
        if len(found) < len(places):
            raise PatchclampError(
                expected=f"another stimulus that reaches position {places[-1]}",
                got="none in the source recording",
                remedy="Record longer or more stimuli, or ablate to mean or zero.",
            )
        return found


@dataclass(frozen=True, eq=False)
class Edits:
    """All edits of one run, by site, in list order."""

    by_site: Mapping[str, Sequence[Edit]]

    @cached_property
    def paths(self) -> list[str]:
        """Return the sites that change."""
        return list(self.by_site)

    def check(self, lengths: Sequence[int], *, steps: bool) -> None:
        """Refuse a change that would silently do nothing.

        Args:
            lengths: tokens of each prompt.
            steps: whether anything is generated.

        Raises:
            PatchclampError: a run of positions lies outside every prompt that it applies to, or names steps in vain.
        """
        for edit in (edit for edits in self.by_site.values() for edit in edits):
            longest = max(lengths[i] for i in edit.rows or range(len(lengths)))
            for span in edit.intervention.at or ():
                if span.steps and steps:
                    continue
                start = span.start + longest if span.start < 0 else span.start
                stop = longest if span.stop is None else span.stop + longest if span.stop < 0 else span.stop
                empty = start < 0 or start >= longest or stop <= start
                if span.steps or empty:
                    places = f"a position from 0 to {longest - 1} (or −1 to −{longest}) of the prompt"
                    raise PatchclampError(
                        expected="generation steps only where text is generated" if span.steps else places,
                        got=f"{span} at {edit.intervention.site}",
                        remedy="Generated tokens are steps: +0 is the first.",
                    )

    def apply(self, x: Tensor, site: Site, frame: Frame | None) -> Tensor:
        """Return x changed by the site's edits, each seeing the previous one's result; x itself is left alone.

        Args:
            x: values in the site's layout, batch first.
            site: where.
            frame: where the columns lie; None for networks without positions.
        """
        y = x.movedim(site.unit_axis, -1).clone()
        for edit in self.by_site[site.path]:
            where = edit.where(y.shape[:-1], frame, y.device)
            index = where.nonzero(as_tuple=True)
            if len(index[0]) == 0:
                continue
            logical = index[1] if len(index) > 1 else torch.zeros_like(index[0])
            if frame is not None and len(index) > 1:
                logical = frame.columns(y.shape[1]).to(y.device)[index[0], index[1]]
            _change(y, edit, index, logical, frame)
        return y.movedim(-1, site.unit_axis)


def _change(y: Tensor, edit: Edit, index: tuple[Tensor, ...], logical: Tensor, frame: Frame | None) -> None:
    """Write one edit into y, in place: y is the engine's own copy."""
    rows = index[0]
    if edit.intervention.operation == "call":
        assert edit.intervention.fn is not None
        y[index] = edit.intervention.fn(y[index])
        return
    columns = edit.units.columns(y.shape[-1])
    if columns is not None:
        spot = (*(i[:, None] for i in index), columns.to(y.device)[None])
        y[spot] = edit.replacement(y[spot], rows, logical, frame)
        return
    x = y[index]
    directions = edit.units.directions(x)
    if edit.intervention.operation == "project":
        # x − x Dᵀ (D Dᵀ)⁻¹ D, through the pseudo-inverse so that dependent directions do no harm
        y[index] = x - x @ torch.linalg.pinv(widened(directions)).to(x.dtype) @ directions
        return
    f = edit.units.encode(x)
    y[index] = x + (edit.replacement(f, rows, logical, frame) - f) @ directions


def bind(interventions: Sequence[Any], n_rows: int, find: Mapping[str, Site], bases: Mapping[str, Basis]) -> Edits:
    """Bind interventions to sites and rows.

    Args:
        interventions: one list for every row, or a list per row.
        n_rows: rows of the batch.
        find: site path to Site.
        bases: basis name, or site path and name, to Basis.

    Raises:
        PatchclampError: an unknown basis, a unit out of range, or another number of lists than rows.
        CannotIntervene: the site is read-only.
    """
    per_row = has_rows(interventions)
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
            by_site.setdefault(site.path, []).append(Edit(item, Units(basis, site, item.units), rows))
    return Edits(by_site)


def has_rows(interventions: Sequence[Any]) -> bool:
    """Whether each row has a list of interventions of its own."""
    return any(isinstance(item, list | tuple) for item in interventions)


def widened(x: Tensor) -> Tensor:
    """Return half-precision values as float32, wider ones as they are."""
    return x.float() if torch.finfo(x.dtype).bits < 32 else x


def _within(at: tuple[Span, ...], logical: Tensor, prompt: Tensor) -> Tensor:
    inside = torch.zeros_like(logical, dtype=torch.bool)
    for span in at:
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


def _spread(value: Any, old: Tensor, n_units: int) -> Tensor:
    """Shape a value for ``(n, units · block)``: one number, one per unit, or one per column."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "V":  # ml_dtypes' bfloat16, which torch cannot read
        value = value.astype(np.float32)
    tensor = torch.as_tensor(value, dtype=old.dtype, device=old.device)
    width = old.shape[-1]
    if tensor.ndim == 1 and len(tensor) == n_units and n_units != width:
        tensor = tensor.repeat_interleave(width // n_units)
    flat = tensor.flatten() if tensor.ndim else tensor
    if tensor.ndim and len(flat) not in (1, width):
        raise PatchclampError(
            expected=f"a number, {n_units} (one per unit) or {width} (one per column) values",
            got=f"{tuple(tensor.shape)}",
            remedy="`set` on a head takes a vector of the head's width.",
        )
    return flat


def _reach(places: Tensor, length: int, do: Intervention) -> Tensor:
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
