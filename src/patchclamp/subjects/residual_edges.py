"""What is written to the residual stream, and a network whose readers see only some of the writers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.errors import CannotIntervene
from patchclamp.core.intervention import Intervention
from patchclamp.core.metric import EachMetric, Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.network import Network
from patchclamp.subjects.relevance_rules import check_norm, linearised_norm
from patchclamp.subjects.unembedding import write_factor

MEMORY = 256 * 2**20
"""Bytes that rows which run together may take, beside the model and its forward pass."""

PROJECTED = 200_000
"""Numbers of the streams of one block whose queries, keys and values are made at once."""


def require_edges(subject: Network) -> LanguageModel:
    """Return a subject that can have edges: a language model.

    Raises:
        CannotIntervene: another kind of subject.
    """
    if not isinstance(subject, LanguageModel):
        raise CannotIntervene(
            expected="a language model of a known family, for edges",
            got=subject.name,
            remedy="Score units: attribute_pairs(net, pairs, sites=[…]).",
        )
    return subject


def edge_map(model: LanguageModel) -> EdgeMap:
    """Return a model's edges.

    Raises:
        PatchclampError: no family covers it.
        CannotIntervene: its stream is normalised after each addition, or a block mixes positions by something else than
            attention, so that the stream is not the sum of what heads and MLPs write.
    """
    family = require_edges(model).covering_family()
    why = family.why_edgeless(model.module)
    layers = range(0 if why else model.n_layers)
    norms = {layer: norm for layer in layers if (norm := exit_norm(model, layer)) is not None}
    if any(getattr(_output(model, layer), "bias", None) is not None for layer in norms):
        why = "whose attention adds a bias before a norm: its divisor mixes a head's write with the bias"
    for layer, norm in ({} if why else norms).items():
        check_norm(norm, family.gain, f"the norm after the attention of block {layer}")
    if why or not model.n_layers:
        raise CannotIntervene(
            expected="a residual stream that is the sum of what the embedding, heads and MLPs write",
            got=f"{model.name}, {why or 'which has no blocks'}",
            remedy="Patch its sites, heads or neurons instead.",
        )
    n_heads, n_kv = (model.site(f"blocks.0.attn.{slot}").n_heads for slot in ("q", "k"))
    return EdgeMap(model.n_layers, n_heads, n_kv, family.parallel)


@dataclass(frozen=True, eq=False)
class Writes:
    """Hold what every writer adds to the stream, and the stream where it is read.

    Args:
        each: ``(row, writer, position, d_model)``; biases of the attention's output belong to no head.
        streams: site to ``(row, position, d_model)``.
    """

    each: Float[Tensor, "row writer position d_model"]
    streams: Mapping[str, Float[Tensor, "row position d_model"]]


def writes_of(model: LanguageModel, stimuli: Sequence[Stimulus], rows: Sequence[int] | None = None) -> Writes:
    """Return what every writer adds to the stream on stimuli of one length.

    A head writes z_h W_O^h. Where a norm stands between attention and stream it writes its share of the norm's output,
    the divisor being that of all heads together, so that what heads write sums to what is added.

    Args:
        model: the subject.
        stimuli: prompts of one length; each is run once.
        rows: which stimulus each row of the result is; default one row per stimulus, in order.

    Returns:
        Writes: the writes of every writer, and the stream at every reader.

    Source: Elhage et al. (2021), A Mathematical Framework for Transformer Circuits.

    Cost: one forward pass; memory of (blocks · (heads + 1) + 1) · positions · d_model numbers a row.

    Example:
        >>> from patchclamp.loaders import load
        >>> mover = load("organism:mover-gpt2")
        >>> writes = writes_of(mover, mover.stimuli("When Mary and John went"))
        >>> writes.each.shape[:2]
        torch.Size([1, 16])
    """
    graph = edge_map(model)
    pick = slice(None) if rows is None else list(rows)
    read = dict.fromkeys(graph.stream(layer, mlp=m) for layer in range(graph.n_layers) for m in (False, True))
    written = [f"blocks.{layer}.{kind}" for layer in range(graph.n_layers) for kind in ("attn.z", "mlp.write")]
    recording = model.run(list(stimuli), record=[*read, *written, graph.stream(None)], logits=False).recording
    seen = {path: _square(recording[path], len(stimuli)) for path in recording.values}
    first = upcast(seen[graph.stream(0)])
    first = first[pick]
    each = first.new_empty(len(first), len(graph.writers), *first.shape[1:])
    each[:, 0] = first
    for layer in range(graph.n_layers):
        each[:, graph.heads(layer)] = head_writes(model, layer, seen[f"blocks.{layer}.attn.z"])[pick]
        each[:, graph.mlp(layer)] = seen[f"blocks.{layer}.mlp.write"][pick]
    return Writes(each, {path: upcast(seen[path])[pick] for path in (*read, graph.stream(None))})


def row_bytes(model: LanguageModel, n_positions: int, *, each: int = 4) -> int:
    """Return how much is held of one prompt.

    Args:
        model: the subject.
        n_positions: tokens of the prompt.
        each: how many vectors per writer and position are held.

    Returns:
        int: bytes.

    Example:
        >>> from patchclamp.loaders import load
        >>> row_bytes(load("organism:mover-gpt2"), 10)
        655360
    """
    return 4 * each * len(edge_map(model).writers) * n_positions * model.site("blocks.0.resid_in").width


def rows_at_once(model: LanguageModel, n_positions: int, *, each: int = 4) -> int:
    """Return how many prompts may run together: what is held of them stays within ``MEMORY``; see ``row_bytes``.

    Returns:
        int: at least 1.

    Example:
        >>> from patchclamp.loaders import load
        >>> rows_at_once(load("organism:mover-gpt2"), 10) >= 1
        True
    """
    return max(1, MEMORY // row_bytes(model, n_positions, each=each))


def measure_edge_sets(
    model: LanguageModel,
    graph: EdgeMap,
    shown: Sequence[Stimulus],
    metric: Metric | EachMetric,
    kept: Bool[Tensor, "row reader writer"],
    base: Writes,
) -> Float[Tensor, " row"]:
    r"""Return m of a network in which every reader sees only some writers: rows of one length, each with its edges.

    The input of reader v is its stream under the baseline plus Σ_u (u_now − u_baseline) over the edges u → v that are
    kept, u_now being what u writes in this very run. With all edges it is the clean run, with none the baseline.

    Args:
        model: the subject.
        graph: its edges.
        shown: prompts x, a row each.
        metric: m, or one per row.
        kept: which edges.
        base: the baseline of each row; ``base.each`` is overwritten with the difference from it.

    Returns:
        Float[Tensor, " row"]: m of each row under its own set of edges.

    Source: path patching of 2304.05969, for any set of edges at once.
    """
    # What has run holds u_now − u_baseline, what has not u_baseline: of all that is held, this is the most.
    moved = base.each  # (row, writer, position, d_model)
    first = graph.stream(0)
    embedded = _square(model.run(list(shown), record=first, logits=False).recording[first], len(shown))
    moved[:, 0] = upcast(embedded) - base.streams[first]
    for layer in range(graph.n_layers):
        # Writers run in the order of the network, so that every reader sees only those that have their difference.
        z = _heads_over_streams(
            model, graph, shown, layer, moved, kept, base.streams[graph.stream(layer)]
        )  # (row, position, width)
        heads, reader, stream = graph.heads(layer), graph.queries(layer).stop, graph.stream(layer, mlp=True)
        moved[:, heads] = head_writes(model, layer, z) - moved[:, heads]  # (row, head, position, d_model)
        x = _stream_seen(graph, reader, moved, kept, base.streams[stream])
        moved[:, graph.mlp(layer)] = mlp_writes(model, graph, shown, layer, x) - moved[:, graph.mlp(layer)]
    x = _stream_seen(graph, len(graph.readers) - 1, moved, kept, base.streams[graph.stream(None)])
    return measure_stream(model, graph, shown, metric, x)


def _stream_seen(
    graph: EdgeMap,
    reader: int,
    moved: Float[Tensor, "row writer position d_model"],
    kept: Bool[Tensor, "row reader writer"],
    stream: Float[Tensor, "row position d_model"],
) -> Float[Tensor, "row position d_model"]:
    """Return what one reader sees in every row: its stream under the baseline + Σ kept · difference."""
    n = int(graph.seen[reader])  # writers before it come first
    return torch.einsum("nw,nwpd->npd", kept[:, reader, :n].to(moved.dtype), moved[:, :n]).add_(stream)


def _heads_over_streams(
    model: LanguageModel,
    graph: EdgeMap,
    shown: Sequence[Stimulus],
    layer: int,
    moved: Float[Tensor, "row writer position d_model"],
    kept: Bool[Tensor, "row every writer"],
    stream: Float[Tensor, "row position d_model"],
) -> Float[Tensor, "row position width"]:
    """Return what a block's heads give where each query, key and value reads a stream of its own."""
    block = graph.queries(layer)
    n_readers, n = block.stop - block.start, int(graph.seen[block.start])
    own = kept[:, block, :n].flatten(0, 1)  # (row · reader, writer)
    row = torch.arange(len(shown), device=own.device).repeat_interleave(n_readers)  # (row · reader,)
    # Readers of one row that see the same writers see the same stream: it runs once.
    alike, which = torch.unique(torch.cat([row[:, None], own.long()], 1), dim=0, return_inverse=True)
    which = which.unflatten(0, (len(shown), -1))  # (row, reader) → place in ``alike``
    mixed: dict[str, Tensor] = {}  # by slot, (row, position, head, d_head)
    at_once = max(1, PROJECTED // stream[0].numel())
    # Streams are made a few at a time, and of their projections only the head that reads them is kept.
    for start in range(0, len(alike), at_once):
        some = alike[start : start + at_once]  # (stream, 1 + writer), the row first
        rows, counts = torch.unique_consecutive(some[:, 0], return_counts=True)  # ``alike`` is sorted by row
        each = torch.cat(
            [
                torch.einsum("sw,wpd->spd", marks.to(moved.dtype), moved[i, :n]).add_(stream[i])
                for i, marks in zip(rows.tolist(), some[:, 1:].split(counts.tolist()), strict=True)
            ]
        )
        # each: (stream, position, d_model)
        projected = project_qkv(model, graph, [shown[i] for i in some[:, 0].tolist()], layer, each)
        for path, place in graph.slots(layer).items():
            pick = which[:, place.start - block.start : place.stop - block.start] - start  # (row, head)
            at, head = torch.nonzero((pick >= 0) & (pick < len(some)), as_tuple=True)
            values = projected.pop(path)  # (stream, position, head, d_head)
            kept_of = mixed.setdefault(path, values.new_empty(len(shown), *values.shape[1:]))
            kept_of[at, :, head] = values[pick[at, head], :, head]
        del each, values
    given = {path: x.flatten(2) for path, x in mixed.items()}  # (row, position, head · d_head)
    return attention_z(model, shown, layer, given, stream)


# -- pieces of a block ------------------------------------------------------------------------------------------------


def project_qkv(
    model: LanguageModel,
    graph: EdgeMap,
    shown: Sequence[Stimulus],
    layer: int,
    stream: Float[Tensor, "row position d_model"],
) -> dict[str, Float[Tensor, "row position head d_head"]]:
    """Return the queries, keys and values that a block makes of a stream, by site.

    Returns:
        dict[str, Float[Tensor, "row position head d_head"]]: after norms and rotary position, as the attention function
            gets them.
    """
    slots = graph.slots(layer)
    restart = Restart(layer, stream.to(model.dtype))
    recording = model.run(list(shown), record=list(slots), logits=False, restart=restart).recording
    return {
        path: _square(recording[path], len(shown)).unflatten(-1, (place.stop - place.start, -1))
        for path, place in slots.items()
    }


def attention_z(
    model: LanguageModel,
    shown: Sequence[Stimulus],
    layer: int,
    given: Mapping[str, Float[Tensor, "row position width"]],
    stream: Float[Tensor, "row position d_model"],
) -> Float[Tensor, "row position width"]:
    """Return what a block's heads give of queries, keys and values; the stream is any of the right size.

    Returns:
        Float[Tensor, "row position width"]: the heads side by side, before the output projection.
    """
    path = f"blocks.{layer}.attn.z"
    changes = [set_rows(site, x) for site, x in given.items()]
    restart = Restart(layer, stream.to(model.dtype))
    run = model.run(list(shown), record=path, logits=False, interventions=changes, restart=restart)
    return _square(run.recording[path], len(shown))


def mlp_writes(
    model: LanguageModel,
    graph: EdgeMap,
    shown: Sequence[Stimulus],
    layer: int,
    stream: Float[Tensor, "row position d_model"],
) -> Float[Tensor, "row position d_model"]:
    """Return what a block's MLP writes where it reads a stream.

    Returns:
        Float[Tensor, "row position d_model"]: after the norm that some families put behind the MLP.
    """
    path, read = f"blocks.{layer}.mlp.write", graph.stream(layer, mlp=True)
    changes = [] if graph.parallel else [set_rows(read, stream)]
    restart = Restart(layer, stream.to(model.dtype))
    run = model.run(list(shown), record=path, logits=False, interventions=changes, restart=restart)
    return upcast(_square(run.recording[path], len(shown)))


def measure_stream(
    model: LanguageModel,
    graph: EdgeMap,
    shown: Sequence[Stimulus],
    metric: Metric | EachMetric,
    stream: Float[Tensor, "row position d_model"],
) -> Float[Tensor, " row"]:
    """Return the metric where the logits read a stream.

    Returns:
        Float[Tensor, " row"]: m of each row.
    """
    restart = Restart(graph.n_layers - 1, stream.to(model.dtype))
    return model.measure(list(shown), metric, interventions=[set_rows(graph.stream(None), stream)], restart=restart)


def set_rows(site: str, values: Float[Tensor, "row position width"]) -> Intervention:
    """Return the intervention that gives every row's site values of its own, for rows of one length."""
    return Intervention(site, "rows", value=values)


# -- what heads write -------------------------------------------------------------------------------------------------


def head_writes(
    model: LanguageModel, layer: int, z: Float[Tensor, "row position width"]
) -> Float[Tensor, "row head position d_model"]:
    """Return what each head of a block adds to the stream; see ``writes_of``.

    Returns:
        Float[Tensor, "row head position d_model"]: without the output bias, which belongs to no head.

    Source: as ``writes_of``.

    Example:
        >>> from patchclamp.loaders import load
        >>> mover = load("organism:mover-gpt2")
        >>> [shown] = mover.stimuli("When Mary and John went")
        >>> z = mover.run(shown, record="blocks.0.attn.z", logits=False).recording.of("blocks.0.attn.z", 0)
        >>> head_writes(mover, 0, z[None]).shape
        torch.Size([1, 4, 6, 256])
    """
    each = head_outputs(model, layer, z)
    norm = exit_norm(model, layer)
    if norm is None:
        return each
    with torch.no_grad():
        return linearised_norm(norm, model.covering_family().gain, attention_output(model, layer, z)[:, None])(each)


def head_outputs(
    model: LanguageModel, layer: int, z: Float[Tensor, "row position width"]
) -> Float[Tensor, "row head position d_model"]:
    """Return z_h W_O^h of each head of a block, times the number by which its family scales it.

    Returns:
        Float[Tensor, "row head position d_model"]: without bias and norm.
    """
    path = f"blocks.{layer}.attn.z"
    n_heads = model.site(path).n_heads
    W_O = (write_factor(model, path) * upcast(_output_matrix(model, layer))).unflatten(0, (n_heads, -1))
    return torch.einsum("nphk,hkd->nhpd", upcast(z).unflatten(-1, (n_heads, -1)), W_O)


def attention_output(
    model: LanguageModel, layer: int, z: Float[Tensor, "row position width"]
) -> Float[Tensor, "row position d_model"]:
    """Return the output projection of what a block's heads give, before any norm.

    Returns:
        Float[Tensor, "row position d_model"]: with the bias.
    """
    with torch.no_grad():
        output: Tensor = _output(model, layer)(z)
    return output


def exit_norm(model: LanguageModel, layer: int, write: str = "attn.write") -> nn.Module | None:
    """Return the norm between a block's attention (or its MLP: ``mlp.write``) and the stream.

    Returns:
        nn.Module | None: None where what the sublayer returns is added as it is.
    """
    family = model.covering_family()
    place = family.block[write]
    if place.module not in family.exit_norms:
        return None
    norm: nn.Module = model.module.get_submodule(place.under(f"{family.blocks}.{layer}").module)
    return norm


def _output(model: LanguageModel, layer: int) -> nn.Module:
    place: Any = model.covering_family().block["attn.z"]
    module: nn.Module = model.module.get_submodule(place.under(f"{model.covering_family().blocks}.{layer}").module)
    return module


def _output_matrix(model: LanguageModel, layer: int) -> Float[Tensor, "width d_model"]:
    """Return W_O, ``(in, out)``; asked of the module itself where its weights are not plain numbers in memory."""
    linear = _output(model, layer)
    weight = getattr(linear, "weight", None)
    if isinstance(weight, nn.Parameter) and not weight.is_meta:
        if type(linear) is nn.Linear and type(weight.data) is Tensor:
            return weight.detach().T
        if type(linear).__name__ == "Conv1D":
            return weight.detach()
    path = f"blocks.{layer}.attn.z"
    eye = torch.eye(model.site(path).width, dtype=model.dtype, device=model.device)
    return model.write_to_stream(path, eye) / write_factor(model, path)


def _square(x: Float[Tensor, "token width"], n_rows: int) -> Float[Tensor, "row position width"]:
    return x.unflatten(0, (n_rows, -1))
