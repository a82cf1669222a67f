"""What single units and inputs of one prompt write to the residual stream, and where each is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.ablate import Baseline
from patchclamp.attribute.features import delta_from_baseline, directions, kind_of
from patchclamp.core.edge_map import SLOTS, EdgeMap
from patchclamp.core.errors import CannotIntervene
from patchclamp.core.recording import Recording
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.bases import count_units
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.relevance_rules import linearised_norm
from patchclamp.subjects.residual_edges import edge_map, exit_norm, set_rows

OUTPUT = "output"
MEAN_WORD, COUNTERPART = "mean of the vocabulary's embeddings", "the corrupted prompt"
"""What stands in place of the inputs at the far end of the path."""
_BLOCK = re.compile(r"blocks\.([0-9]+)\.(.+)")
_CHUNK = 4096
"""Rows of the embedding that are averaged at once."""


@dataclass(frozen=True)
class Place:
    """Say where a unit reads the stream, and from where on what it writes is there.

    Args:
        layer: its block; None of the output.
        stream: the site of the stream that it reads; a unit of the stream reads its own site.
        reads: place in the order of the network.
        writes: likewise; what writes at w is read where w < ``reads``.
        slots: what it reads separately: ``q``, ``k``, ``v`` of a head.
    """

    layer: int | None
    stream: str
    reads: float
    writes: float
    slots: tuple[str, ...] = ("",)


def place_of(graph: EdgeMap, path: str, basis: str) -> Place:
    """Return where units of a site stand in the network.

    Attention of block l reads at 2 l, its MLP at 2 l + 1 (of a parallel block at 2 l too); the stream itself stands
    between.

    Args:
        graph: the model's writers and readers.
        path: the site.
        basis: how its units are counted.

    Returns:
        Place: its block, the stream that it reads, and its order.

    Raises:
        CannotIntervene: a site that does not write to the stream.

    Example:
        >>> place_of(EdgeMap(2, 4, 4), "blocks.1.mlp.act", "neurons").stream
        'blocks.1.resid_mid'
    """
    match = _BLOCK.fullmatch(path)
    kind, layer = (match[2], int(match[1])) if match else (path, 0)
    first = 2.0 * layer
    between = {"embed": -0.75, "resid_in": first - 0.5, "resid_mid": first + 0.5, "resid_out": first + 1.5}
    if kind in between:
        return Place(layer, path, between[kind], between[kind])
    if kind in ("mlp.act", "mlp.write"):
        return Place(layer, graph.stream(layer, mlp=True), first + (not graph.parallel), first + 1)
    if kind in ("attn.z", "attn.write"):
        heads = kind == "attn.z" and basis == "heads"
        return Place(layer, graph.stream(layer), first, first, SLOTS if heads else ("",))
    raise CannotIntervene(
        expected="units that write to the residual stream",
        got=f"units of {path}",
        remedy="Explain neurons, heads or features: --level neuron --level head.",
    )


def place_of_output(graph: EdgeMap) -> Place:
    """Return where the logits read the stream."""
    return Place(None, graph.stream(None), 2.0 * graph.n_layers, float("inf"))


@dataclass(frozen=True, eq=False)
class Change:
    """Hold what one node's write loses when the node takes its baseline.

    Args:
        key: of the unit at a position, or ``input@3``.
        position: where.
        writes: place in the order of the network; see ``Place``.
        delta: ``(d_model,)`` what it writes, minus what it writes at its baseline.
    """

    key: str
    position: int
    writes: float
    delta: Float[Tensor, " d_model"]


@dataclass(frozen=True, eq=False)
class Writes:
    """Read one prompt's units as writers to the residual stream.

    Args:
        model: a language model whose writers add to one stream.
        shown: the prompt.
        counterpart: the corrupted prompt, where that is the baseline.
        baseline: r of every site.
        sites: site to basis of everything that was scored.
    """

    model: LanguageModel
    shown: Stimulus
    counterpart: Stimulus | None
    baseline: Baseline
    sites: Mapping[str, str]

    @cached_property
    def graph(self) -> EdgeMap:
        """The model's writers and readers."""
        return edge_map(self.model)

    @cached_property
    def clean(self) -> Recording:
        """Values of every site that is needed, on the prompt."""
        graph = self.graph
        streams = [graph.stream(layer, mlp=m) for layer in range(graph.n_layers) for m in (False, True)]
        exits = [f"blocks.{layer}.{kind}" for layer in range(graph.n_layers) for kind in ("attn.z", "mlp.act")]
        exits = [path for path in exits if self._has_exit_norm]
        wanted = dict.fromkeys([graph.stream(0), *streams, graph.stream(None), *self.sites, *exits])
        return self.model.run([self.shown], record=list(wanted), logits=False).recording

    @cached_property
    def _has_exit_norm(self) -> bool:
        return exit_norm(self.model, 0) is not None

    def stream(self, path: str) -> Float[Tensor, "position d_model"]:
        """Return the stream at one of its sites, on the prompt."""
        return self.clean[path]

    @cached_property
    def reference(self) -> Float[Tensor, "position d_model"]:
        """The first block's input at the far end of the path: the corrupted prompt's, or every word the mean word.

        A token that the tokenizer puts at the beginning stays as it is: it is no word.
        """
        first = self.graph.stream(0)
        if self.counterpart is not None:
            return self.model.run([self.counterpart], record=first, logits=False).recording[first]
        words = self.model.run([self.shown], record="embed", logits=False).recording["embed"].clone()
        begins = getattr(self.model.tokenizer.bare, "bos_token_id", None)
        changed = torch.tensor([int(i) != begins for i in self.shown.ids], device=words.device)
        words[changed] = mean_embedding(self.model).to(words)
        change = set_rows("embed", words[None])
        return self.model.run([self.shown], record=first, logits=False, interventions=[change]).recording[first]

    @cached_property
    def inputs(self) -> Float[Tensor, "position d_model"]:
        """What every input adds to the stream, minus what stands in its place at the far end."""
        return upcast(self.stream(self.graph.stream(0))) - upcast(self.reference)

    def place(self, key: UnitKey) -> Place:
        """Return where a unit stands in the network."""
        return place_of(self.graph, key.site, key.basis)

    def change_of(self, node: UnitKey) -> Change:
        """Return what a unit's write loses at one position: (n − r) times its write direction.

        A head's is (z − r) W_O, a feature's (f − r) times its direction. A norm between unit and stream is linear, with
        the divisor of the prompt's own run.
        """
        if node.position is None:
            raise CannotIntervene(expected="units at positions", got=str(node), remedy="Name a position.")
        x, i = self.clean[node.site], node.position
        values = self.at_baseline(node, x)[i] - x[i]
        return Change(str(node), i, self.place(node).writes, self._to_stream(node.site, -values[None], x[i][None])[0])

    def at_baseline(self, node: UnitKey, x: Float[Tensor, "position width"]) -> Float[Tensor, "position width"]:
        """Return a site's values with one unit at its baseline at every position."""
        x = upcast(x)
        if kind_of(node.basis) == "feature":
            basis = self.model.basis_at(node.site, node.basis)
            delta = delta_from_baseline(basis, node.site, x, self.baseline)[:, node.index, None]
            return x - delta * directions(basis, x)[node.index]
        own = self.columns(node)
        changed = x.clone()
        changed[:, own] = upcast(self.baseline.at(node.site, x))[:, own]
        return changed

    def columns(self, node: UnitKey) -> slice:
        """Return the columns of its site that a neuron or a head is."""
        site = self.model.site(node.site)
        width = site.width // count_units(self.model.basis_at(node.site, node.basis), site)
        return slice(node.index * width, (node.index + 1) * width)

    def changes_of_sites(self) -> list[tuple[float, Float[Tensor, "position d_model"]]]:
        """Return, of every scored site that adds to the stream, what all of it writes minus that at its baseline."""
        changes = []
        for path, basis in self.sites.items():
            place = place_of(self.graph, path, basis)
            if place.stream == path:
                continue  # features of the stream itself add nothing to it
            x = self.clean[path]
            delta = upcast(x) - upcast(self.baseline.at(path, x))
            changes.append((place.writes, self._to_stream(path, delta, x)))
        return changes

    def _to_stream(
        self, path: str, values: Float[Tensor, "n width"], at: Float[Tensor, "n width"]
    ) -> Float[Tensor, "n d_model"]:
        """Return what values at a site add to the stream, in the run where the site has the values ``at``."""
        kind = self.model.site(path).kind
        if kind not in ("mlp.act", "attn.z"):
            return values
        written = upcast(self.model.write_to_stream(path, values.to(self.model.dtype)))
        layer = int(path.split(".")[1])
        norm = exit_norm(self.model, layer, "mlp.write" if kind == "mlp.act" else "attn.write")
        if norm is None:
            return written
        with torch.no_grad():
            whole = self.model.write_to_stream(path, at)
            return linearised_norm(norm, self.model.covering_family().gain, whole)(written)


def mean_embedding(model: LanguageModel) -> Float[Tensor, " d_model"]:
    """Return the mean of the vocabulary's embeddings, as the model's own module gives them.

    Cost: one look-up of every token.

    Example:
        >>> from patchclamp.loaders import load
        >>> mean_embedding(load("organism:cat")).shape
        torch.Size([64])
    """
    module: Any = model.module.get_input_embeddings()
    n = int(module.weight.shape[0])
    total: Tensor | None = None
    with torch.no_grad():
        for start in range(0, n, _CHUNK):
            part = upcast(module(torch.arange(start, min(start + _CHUNK, n), device=model.device))).sum(0)
            total = part if total is None else total + part
    assert total is not None
    return total / n


def units_of(keys: Sequence[str]) -> list[UnitKey]:
    """Return the keys that are units, parsed."""
    return [UnitKey.parse(key) for key in keys if key != OUTPUT and not key.startswith("input@")]
