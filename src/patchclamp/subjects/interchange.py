"""Interchange: pairs run with some units as they are under the counterpart, many sets of units after one another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Intervention
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.bases import count_units, encode
from patchclamp.subjects.cases import ROWS, Cases
from patchclamp.subjects.edits import widened
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.model import Model
from patchclamp.subjects.plain import check_places


@dataclass(frozen=True, eq=False)
class Members:
    """Hold which of some parts are units of one site, and which units they are.

    Args:
        path: the site.
        basis: the units' basis there.
        n_units: how many units that has there.
        places: ``(member,)`` places among all parts.
        units: ``(member,)`` index in the basis.
        positions: ``(member,)`` where; −1 is everywhere.
    """

    path: str
    basis: Basis
    n_units: int
    places: Int[np.ndarray, " member"]
    units: Int[np.ndarray, " member"]
    positions: Int[np.ndarray, " member"]


def members_of(model: Model, parts: Sequence[str]) -> list[Members]:
    """Sort parts by site and basis, in forward order.

    Args:
        model: whose units they are.
        parts: keys, with a position or without.

    Raises:
        PatchclampError: no such site, basis or unit, or a generation step.
    """
    found: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for place, part in enumerate(parts):
        key = UnitKey.parse(part)
        if key.step is not None or (key.subject is not None and key.subject != model.name):
            raise PatchclampError(
                expected=f"units of {model.name}, at positions of the prompt or everywhere",
                got=part,
                remedy="Name units of this model.",
            )
        at = -1 if key.position is None else key.position
        found.setdefault((key.site, key.basis), []).append((place, key.index, at))
    known = {path: model.site(path) for path, _ in found}
    forward = {site.path: i for i, site in enumerate(model.sites())}
    members = []
    for (path, name), rows in sorted(found.items(), key=lambda item: forward.get(item[0][0], len(forward))):
        basis = model.basis_at(path, name)
        places, units, positions = np.array(rows, dtype=np.int64).T
        n = count_units(basis, known[path])
        if units.max() >= n:
            raise PatchclampError(
                expected=f"units 0 to {n - 1} at {path}", got=str(units.max()), remedy="Name units of this model."
            )
        members.append(Members(path, basis, n, places, units, positions))
    return members


def measure_interchanged(
    model: Model,
    cases: Cases,
    parts: Sequence[str],
    replaced: Bool[np.ndarray, "set part"],
    *,
    denoise: bool = False,
    baseline: Callable[[Int[np.ndarray, " some"]], Mapping[str, Tensor]] | None = None,
    batch_size: int = ROWS,
    progress: Progress | None = None,
) -> Float[np.ndarray, "set pair"]:
    """Return m of every pair with the parts of each set as they are under its counterpart.

    Units of a set are replaced together, at all positions or at their own. Of a basis of directions f′ stands in the
    place of f along its direction; what no feature explains stays.

    Args:
        model: the subject.
        cases: what it is asked.
        parts: keys of units, without place (everywhere) or with a position.
        replaced: ``(set, part)`` which parts are replaced.
        denoise: run the counterpart x′ and put in the values of x, instead of the reverse.
        baseline: given the places of some pairs of one length, returns ``(token, width)`` values by site that are put
            in instead of the counterpart's.
        batch_size: rows of a forward pass: pairs of one length, times sets that begin at one block.
        progress: called with rows done and in all.

    Raises:
        PatchclampError: no such unit, or a position that a pair has not.

    Cost: per batch one run of each end, and a row of a forward pass per set and pair, restarted at the first block that
    the set changes;
    memory of the sites' values at one end, and of the residual streams that sets begin from.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> cases = cat.read(task)
        >>> only = np.ones((1, 1), dtype=bool)
        >>> measure_interchanged(cat, cases, ["blocks.0.mlp.act/neurons/7"], only).round(1).tolist()
        [[-4.0]]
    """
    members = members_of(model, parts)
    longest = max((int(m.positions.max()) for m in members), default=-1)
    if longest >= 0:
        placed = [m.path for m in members if m.positions.max() >= 0]
        check_places(model, placed, len(cases.clean[0]), "Name units without a position.")
    shortest = min(map(len, cases.clean))
    if longest >= shortest:
        raise PatchclampError(
            expected=f"positions below {shortest}, the shortest prompt's tokens",
            got=f"position {longest}",
            remedy="Name units without a position, or pairs of one length.",
        )
    batches = list(cases.batches_by_length(batch_size))
    measured = np.zeros((len(replaced), len(cases)))
    into, out_of = (cases.counterpart, cases.clean) if denoise else (cases.clean, cases.counterpart)
    done = 0
    for some in batches:
        own = [into[i] for i in some]
        if baseline is None:
            there = model.run(
                [out_of[i] for i in some], record=[m.path for m in members], logits=False
            ).recording.values
        else:
            there = baseline(some)
        starts = np.array([_first_layer(model, members, chosen) for chosen in replaced])
        paths = [f"blocks.{layer}.resid_in" for layer in np.unique(starts) if layer > 0]
        streams = model.run(own, record=paths, logits=False).recording if paths else None
        for layer in np.unique(starts):
            alike, at_once = np.flatnonzero(starts == layer), max(1, batch_size // len(own))
            for sets in (alike[k : k + at_once] for k in range(0, len(alike), at_once)):
                restart = None
                if layer > 0 and streams is not None:
                    residual = streams[f"blocks.{layer}.resid_in"].unflatten(0, (len(own), -1))
                    restart = Restart(int(layer), residual.repeat(len(sets), 1, 1))
                changes = list(_of_sets(model, members, replaced[sets], there, len(own[0])))
                metric = cases.metric(np.tile(some, len(sets)))
                values = model.measure(own * len(sets), metric, interventions=changes, restart=restart)
                measured[np.ix_(sets, some)] = widened(values).cpu().double().numpy().reshape(len(sets), len(own))
                done += len(sets) * len(own)
                if progress is not None:
                    progress(done, measured.size)
    return measured


def _first_layer(model: Model, members: Sequence[Members], chosen: Bool[np.ndarray, " part"]) -> int:
    return min((model.site(m.path).layer or 0 for m in members if chosen[m.places].any()), default=0)


def _of_sets(
    model: Model, members: Sequence[Members], chosen: Bool[np.ndarray, "set part"], there: Mapping[str, Tensor], n: int
) -> Iterator[Intervention]:
    """Yield a change for every site that any set has units at; rows are sets, pairs within."""
    for member in members:
        own = chosen[:, member.places]
        if not own.any():
            continue
        mask = torch.zeros(len(chosen), model.site(member.path).n_places or n, member.n_units, dtype=torch.bool)
        everywhere = member.positions < 0
        mask[:, :, member.units[everywhere]] = torch.from_numpy(own[:, everywhere])[:, None]
        mask[:, member.positions[~everywhere], member.units[~everywhere]] |= torch.from_numpy(own[:, ~everywhere])
        yield _change(member, mask, there[member.path])


def _change(
    member: Members, mask: Bool[Tensor, "set position unit"], there: Float[Tensor, "token width"]
) -> Intervention:
    basis, n_pairs = member.basis, len(there) // mask.shape[1]

    def fn(x: Tensor) -> Tensor:
        rows = mask.to(x.device)[:, None].expand(-1, n_pairs, -1, -1).flatten(0, 2)
        other = there.to(x).repeat(len(mask), 1)
        if basis.kind != "directions":
            return torch.where(rows.repeat_interleave(x.shape[1] // member.n_units, dim=1), other, x)
        change = (encode(basis, other) - encode(basis, x)).masked_fill(~rows, 0)
        return x + change @ torch.as_tensor(basis.decoder, dtype=x.dtype, device=x.device)

    return Intervention(member.path, "call", fn=fn)
