"""What units write and read, and which tokens stand for that."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.core.errors import CannotIntervene
from patchclamp.core.site import Site
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads, is_heads
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.placement import bring_weights

MOST_TOKENS = 12
BLOCK, FETCHED = 256, 2048
"""Units whose scores of all answers are held at once, and units whose directions are."""
ROUNDING = 1e-5
RESIDUAL = ("embed", "resid_in", "resid_mid", "resid_out", "attn.write", "mlp.write")
WRITERS = ("mlp.act", "attn.z")

Panels = dict[str, tuple[np.ndarray, np.ndarray]]
"""Per panel ``(unit, rank)`` ids and weights; ids are −1 where there are fewer."""


Rows = Callable[[slice], Float[Tensor, "unit width"]]
"""Gives the vectors of some units, so that those of all need not be held."""


@dataclass(frozen=True, eq=False)
class Directions:
    """What the units of all sites write to the residual stream and read from it.

    Args:
        write: per site what gives ``(unit, d_model)`` of some units, or None where it writes nothing that is known.
        read: per site likewise, norm gain included, or None.
        reasons: per site, why a panel cannot be had, by name of the panel.
    """

    write: dict[str, Rows | None]
    read: dict[str, Rows | None]
    reasons: dict[str, dict[str, str]]


def read_directions(model: LanguageModel | Features | WithHeads, sites: Sequence[Site]) -> Directions:
    """Return write and read directions of every site's units.

    A neuron of ``mlp.act`` writes its column of W_down and reads its row of W_in (the gate's, in a gated MLP) times
    the gain of the norm before it. A coordinate of the residual stream writes itself. A feature writes what its row of
    the decoder writes, and reads its row of the encoder where that reads the residual stream.

    Cost: none before units are asked for; then memory of ``(unit, d_model)`` for these.
    """
    write = {site.path: _write(model, site) for site in sites}
    read = {site.path: _read(model, site) for site in sites}
    reasons = {site.path: _reasons(model, site, write[site.path], read[site.path]) for site in sites}
    return Directions(write, read, reasons)


def _write(model: LanguageModel | Features | WithHeads, site: Site) -> Rows | None:
    if model.family is None or site.kind not in (*WRITERS, *RESIDUAL) or is_heads(site):
        return None
    decoder = torch.as_tensor(model.bases[site.path].decoder) if isinstance(model, Features) else None

    def of_feature(units: slice) -> Tensor:
        assert decoder is not None
        rows = decoder[units].float()
        if site.kind in RESIDUAL:
            return rows
        return model.write_to_stream(site.path, rows.to(model.device, model.dtype)).float().cpu()

    if decoder is not None:
        return of_feature
    if site.kind in RESIDUAL:
        return lambda units: one_hot(units, site.width)
    return lambda units: model.write_directions(site.path, units).cpu()


def one_hot(units: slice, width: int) -> Tensor:
    """Return the rows of the identity."""
    places = torch.arange(*units.indices(width))
    return (places[:, None] == torch.arange(width)).float()


def _read(model: LanguageModel | Features | WithHeads, site: Site) -> Rows | None:
    family = model.family
    if isinstance(model, Features):
        basis = model.bases[site.path]
        direct = model.model.site(basis.reads or site.path).kind in RESIDUAL and basis.activation != "nonnegative"
        if not direct or family is None:
            return None
        encoder = torch.as_tensor(basis.encoder)
        return lambda units: encoder[units].float()
    if family is None or site.kind != "mlp.act" or not family.entry_norms:
        return None
    try:
        model.read_directions(site.path, slice(0, 1))
    except CannotIntervene:
        return None
    return lambda units: model.read_directions(site.path, units).cpu()


def _reasons(
    model: LanguageModel | Features | WithHeads, site: Site, write: Rows | None, read: Rows | None
) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if model.family is None:
        why = f"no family file covers {type(model.module).__name__}, so what it writes and reads is not known"
        reasons |= dict.fromkeys(("promotes", "suppresses", "similar", "excited_by", "inhibited_by", "driven_by"), why)
        return reasons
    if is_heads(site):
        why = "a head writes whatever its values hold; see what it writes where it attends to a token"
        reasons |= dict.fromkeys(("promotes", "suppresses", "similar"), why)
        why = "a head reads through queries and keys; see which tokens these match"
        reasons |= dict.fromkeys(("excited_by", "inhibited_by", "driven_by"), why)
        return reasons
    if write is None:
        why = f"units of {site.kind} do not write to the residual stream directly"
        reasons |= dict.fromkeys(("promotes", "suppresses", "similar"), why)
    if read is None:
        why = f"a read direction is known for mlp.act alone, not for {site.kind}"
        if site.kind == "mlp.act":
            why = "no norm of a known kind stands before what it reads"
        if isinstance(model, Features):
            why = "what it reads is no direction of the residual stream"
        reasons |= dict.fromkeys(("excited_by", "inhibited_by", "driven_by"), why)
    return reasons


def token_panels(model: LanguageModel | Features | WithHeads, found: Directions, site: Site) -> Panels:
    """Return which tokens a site's units promote and suppress, and which drive them.

    Promoted: W_U · norm(w_write), mean over tokens taken off. Driving: w_read · embedding, likewise.

    Returns:
        Panels: by panel, ids and weights of its tokens, one row per unit.

    Source: vocabulary projections of 2203.14680 and 2209.02535.

    Cost: two products of units × d_model × vocabulary.
    """
    panels: Panels = {}
    write, read = found.write[site.path], found.read[site.path]
    with torch.no_grad():
        if write is not None:
            scores = (model.read_out(w.to(model.device, model.dtype)) for w in in_blocks(write, site.width))
            panels |= ends_panels("promotes", "suppresses", scores)
        if read is not None:
            module = model.module.get_input_embeddings()
            with bring_weights(module):
                embedding = module.weight.detach().float().cpu()
            panels |= ends_panels("excited_by", "inhibited_by", (r @ embedding.T for r in in_blocks(read, site.width)))
    return panels


def in_blocks(rows: Rows, width: int) -> Iterator[Float[Tensor, "unit width"]]:
    """Yield the vectors of a site's units, ``BLOCK`` units at a time."""
    for units in blocks_of(width, FETCHED):
        yield from rows(units).split(BLOCK)


def ends_panels(up: str, down: str, scores: Iterable[Float[Tensor, "unit answer"]]) -> Panels:
    """Return the answers with the highest and the lowest scores of each unit, as two panels.

    Args:
        up: the panel of the highest,
        down: and of the lowest.
        scores: blocks of units, one after another; one is held at a time.

    Returns:
        Panels: by name, ids and scores of answers, a row per unit.
    """
    high, high_weight, low, low_weight = (np.concatenate(parts) for parts in zip(*map(_ends, scores), strict=True))
    return {up: (high, high_weight), down: (low, low_weight)}


def _ends(scores: Tensor) -> tuple[np.ndarray, ...]:
    """Return ids and weights of the highest and the lowest scores of each row, what all share taken off.

    Ids are −1 where the sign is the other one, or where nothing but rounding is left. Of equal scores the lower ids
    come first among the highest, and last among the lowest.
    """
    scores = scores.float().cpu()
    scores = scores - scores.mean(1, keepdim=True)
    least = scores.abs().amax(1, keepdim=True) * ROUNDING
    k = min(MOST_TOKENS, scores.shape[1])
    up, high = largest(scores, k)
    down, low = largest(scores.flip(1).neg_(), k)
    down, low = -down, scores.shape[1] - 1 - low
    high, low = high.masked_fill(up <= least, -1), low.masked_fill(down >= -least, -1)
    return high.numpy(), up.numpy(), low.numpy(), down.numpy()


def largest(scores: Float[Tensor, "row column"], k: int, *, nothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row and their columns, of equals the first first, on every run.

    A whole stable sort says the same and takes fifty times as long.

    Args:
        scores: finite values, or -inf.
        k: how many.
        nothing: which of several scores comes first that are no larger than this matters to nobody.

    Returns:
        tuple[Tensor, Tensor]: ``(row, k)`` values, falling, and their columns.

    Example:
        >>> largest(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 2)[1].tolist()
        [[1, 3]]
    """
    # One more says whether the edge has equals beyond it.
    values, at = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    beyond = values[:, k:].amax(1) if values.shape[1] > k else torch.full_like(values[:, -1], -torch.inf)
    values, at = values[:, :k], at[:, :k]
    at, order = at.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    at = at.gather(1, order)
    # Which of several equals at the edge topk takes is not said.
    edge = values[:, -1]
    matters = edge.isfinite() & (edge.abs() > nothing)
    tied = ((beyond == edge) & matters).nonzero().flatten()
    if len(tied):
        ordered = scores[tied].sort(dim=1, descending=True, stable=True)
        values[tied], at[tied] = ordered.values[:, :k], ordered.indices[:, :k]
    return values, at


def blocks_of(n: int, size: int) -> list[slice]:
    """Return slices of at most so many that cover n.

    Example:
        >>> blocks_of(5, 2)
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
