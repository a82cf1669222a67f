"""Which earlier units write what the queries and keys of attention heads read, by the weights alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchclamp.atlas.bake.neighbours import MOST_UNITS
from patchclamp.atlas.bake.weight_panels import Panels, Rows, blocks_of
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.record.heads import split_path
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.language import LanguageModel

SLOTS = {"query_reads": "q", "key_reads": "k"}
"""Panel → what reads."""
ROWS = 1024
LINEAR = 1e-2
"""Largest departure from a linear map that rounding, in half precision too, explains."""
ROUNDING = 1e-4
"""Below this part of what a direction drawn at random gives, a length is rounding."""
NORMED = "queries and keys are no linear map of what the block reads (a norm of their own), so weights alone do not say"
NONE_BEFORE = "no unit of an earlier block is in the atlas"


@dataclass(frozen=True, eq=False)
class Writers:
    """Units that write to the residual stream before some block.

    Args:
        layer: their block.
        first: number of the first of them among all units.
        directions: gives ``(row, d_model)`` what some of them write.
        n_rows: how many rows there are.
        per_unit: rows of each unit: 1, or of a head its width.
    """

    layer: int
    first: int
    directions: Rows
    n_rows: int
    per_unit: int = 1

    def blocks(self) -> Iterator[Float[Tensor, "row d_model"]]:
        """Yield the rows of some whole units at a time."""
        for rows in blocks_of(self.n_rows, max(ROWS // self.per_unit, 1) * self.per_unit):
            yield self.directions(rows)


def writers_of(
    model: LanguageModel, sites: Iterable[tuple[Site, int]], written: Mapping[str, Rows | None]
) -> list[Writers]:
    """Return the units that write; a head writes what its W_O does.

    Args:
        model: the subject.
        sites: sites, each with the number of its unit 0 among all.
        written: by site, what gives what its units write; of heads it is read from the model.

    Returns:
        list[Writers]: of the sites whose writing is known.
    """
    found = []
    for site, first in sites:
        if site.layer is None:
            continue
        path, basis = split_path(site.path)
        if basis == "heads":
            width = model.site(path).width
            found.append(Writers(site.layer, first, partial(_write_of, model, path), width, width // site.width))
        elif (rows := written.get(site.path)) is not None:
            found.append(Writers(site.layer, first, rows, site.width))
    return found


def _write_of(model: LanguageModel, path: str, rows: slice) -> Float[Tensor, "row d_model"]:
    return model.write_directions(path, rows).cpu()


def head_reads(model: LanguageModel, site: Site, writers: Sequence[Writers]) -> Panels | str:
    """Return the earlier units whose write directions the queries and keys of a block's heads read most.

    The block reads each direction alone, at one length, less what biases give: |W_Q · norm(w)| and |W_K · norm(w)| per
    head. A number is that length divided by the root mean square over all units of the same site: 1 is what a unit
    drawn at random from the site gives. Of a head all directions of its W_O count, each by its length.

    Args:
        model: the subject.
        site: the heads of a block.
        writers: units of any block; those of earlier ones are tried.

    Returns:
        Panels: ``query_reads`` and ``key_reads``, ids and numbers of at least 1, a row for each head; or the reason why
            there are none.

    Source: composition as in Elhage et al. (2021), A Mathematical Framework for Transformer Circuits.

    Cost: the queries and keys of one block for every direction that is tried.
    """
    layer = site.layer or 0
    before = [one for one in writers if one.layer < layer]
    if not before:
        return NONE_BEFORE
    least = _least_lengths(model, site)
    if least is None:
        return NORMED
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in SLOTS}
    for one in before:
        writes, strengths = _strengths(model, site, one)
        for name, values in strengths.items():
            strength = values.where(values > least[name], 0)
            usual = strength[writes].square().mean(0).sqrt() if writes.any() else strength.new_zeros(site.width)
            ratio = (strength / usual.where(usual > 0, 1)).numpy()  # (unit, head)
            numbers = np.broadcast_to(np.arange(len(ratio))[:, None] + one.first, ratio.shape)
            found[name].append(_first(numbers, ratio))
    panels = {}
    for name, parts in found.items():
        numbers, ratios = _first(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        # The only unit of a site that writes has 1.
        panels[name] = (np.where(ratios >= 1 - 1e-5, numbers, -1).T, ratios.T)
    return panels


def _strengths(
    model: LanguageModel, site: Site, writers: Writers
) -> tuple[Bool[Tensor, " unit"], dict[str, Float[Tensor, "unit head"]]]:
    """Return which units write at all, and how long every head's query and key of what each writes is."""
    writes: list[Tensor] = []
    strengths: dict[str, list[Tensor]] = {name: [] for name in SLOTS}
    for rows in writers.blocks():
        lengths = torch.linalg.vector_norm(rows, dim=1).square().reshape(-1, writers.per_unit)
        writes.append(lengths.sum(1) > 0)
        for name, values in _read_lengths(model, site, rows).items():
            # A head's directions count by their length.
            sums = (values.square().reshape(-1, writers.per_unit, site.width) * lengths[..., None]).sum(1)
            strengths[name].append((sums / lengths.sum(1).where(writes[-1], 1)[:, None]).sqrt())
    return torch.cat(writes), {name: torch.cat(parts) for name, parts in strengths.items()}


def _first(numbers: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers and ratios of each head's strongest units, ``(rank, head)``; of equal ones the earlier first."""
    order = np.argsort(-ratios, axis=0, kind="stable")[:MOST_UNITS]
    return np.take_along_axis(numbers, order, 0), np.take_along_axis(ratios, order, 0)


def _read_lengths(
    model: LanguageModel, site: Site, directions: Float[Tensor, "row d_model"]
) -> dict[str, Float[Tensor, "row head"]]:
    """Return the length of every head's query and key of each direction at unit length."""
    return {
        name: _lengths_by_head(read, site.width)
        for name, read in _probe(model, site, nn.functional.normalize(directions, dim=1)).items()
    }


def _lengths_by_head(read: Float[Tensor, "row group width"], n_heads: int) -> Float[Tensor, "row head"]:
    """Return the lengths of vectors for each head; query heads share keys in groups."""
    return torch.linalg.vector_norm(read, dim=-1).repeat_interleave(n_heads // read.shape[1], dim=1)


def _probe(
    model: LanguageModel, site: Site, rows: Float[Tensor, "row d_model"]
) -> dict[str, Float[Tensor, "row group width"]]:
    """Return all queries and keys of directions, without what biases give, as if no norm divided."""
    layer, family = site.layer or 0, model.covering_family()
    # Not so short that the norm's epsilon counts.
    x = rows * rows.shape[1] ** 0.5
    scale = torch.ones(len(x), 1)
    if family.entry_norms:
        norm = family.layers(model.module)[layer].get_submodule(family.entry_norms[0])
        centred = x - x.mean(1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x
        scale = centred.square().mean(1, keepdim=True).sqrt()
    stream = torch.cat([x, torch.zeros_like(x[:1])]).to(model.device, model.dtype)[:, None]
    paths = {name: f"blocks.{layer}.attn.{slot}" for name, slot in SLOTS.items()}
    shown = [Stimulus.of(np.zeros(1, dtype=np.int64))] * len(stream)
    recording = model.run(shown, record=list(paths.values()), logits=False, restart=Restart(layer, stream)).recording
    found = {}
    for name, path in paths.items():
        values = upcast(recording[path]).cpu()
        found[name] = values[:-1].sub_(values[-1:]).mul_(scale).unflatten(-1, (model.site(path).n_heads, -1))
    return found


def _least_lengths(model: LanguageModel, site: Site) -> dict[str, Float[Tensor, " head"]] | None:
    """Return below what each head's lengths are rounding, by two directions drawn at random.

    None where the query or key of their sum is not the sum of theirs.
    """
    width = model.site(f"blocks.{site.layer or 0}.resid_in").width
    pair = nn.functional.normalize(torch.randn(2, width, generator=torch.Generator().manual_seed(0)), dim=1)
    least = {}
    for name, x in _probe(model, site, torch.cat([pair, pair.sum(0, keepdim=True)])).items():
        if float((x[:2].sum(0) - x[2]).abs().max()) > LINEAR * float(x.abs().max()):
            return None
        least[name] = ROUNDING * _lengths_by_head(x[:2], site.width).mean(0)
    return least
