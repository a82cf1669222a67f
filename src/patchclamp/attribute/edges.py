"""Score every edge of m(x) − m(x′) by gradients: all edges from one backward pass or a few."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.attribute.direction import check_one_length, orient
from patchclamp.attribute.provenance import scores_over
from patchclamp.attribute.rules import Gradient, PathIntegral, Rule, find_rule
from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Method
from patchclamp.core.scores import Scores
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Keep, Progress, keep_nothing
from patchclamp.subjects.apply import upcast
from patchclamp.subjects.cases import ReadTask
from patchclamp.subjects.engine import Restart
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.memory import free_memory
from patchclamp.subjects.pass_memory import count_backward_bytes
from patchclamp.subjects.relevance_rules import linearised_norm
from patchclamp.subjects.residual_edges import (
    attention_output,
    edge_map,
    exit_norm,
    head_outputs,
    rows_at_once,
)


def attribute_edges(
    model: LanguageModel,
    cases: ReadTask,
    *,
    method: str | Method | Rule = "eap",
    rules: Sequence[str] | None = None,
    steps: int | None = None,
    direction: str = "noise",
    by_position: bool = False,
    progress: Progress | None = None,
    keep: Keep = keep_nothing,
) -> Scores:
    r"""Score every edge u → v by (u(x) − u(x′)) · ∂m/∂(input of v): a prediction of its effect on m.

    The input of v is the residual stream as v alone reads it: before the norm, once for every head's query, key and
    value, for every MLP and for the logits. Positive scores carry m(x) − m(x′).

    | method | the gradient is taken |
    |---|---|
    | eap | on x, the run that is patched into; to denoise, on x′ |
    | relp | the same, of the backward pass under the rules ln, identity, half |
    | eap_ig | as its mean over x′ + α (x − x′) of the embeddings, α by Gauss and Legendre |

    A head's u is z_h W_O^h, so that the edges out of a head sum to the head's own attribution, (z(x) − z(x′)) · ∂m/∂z.
    Where a norm stands between attention and stream, u(x) − u(x′) passes that norm's Jacobian at the run where the
    gradient is taken: what leaves a head still sums to its attribution; what enters a reader sums to the attribution of
    a stream that is followed to first order through those norms.

    Args:
        model: the subject.
        cases: prompts x with counterparts x′, and m of each.
        method: one of the table, or a rule of ``attribute.rules``.
        rules: relevance rules instead of the method's own; only for relp.
        steps: Gauss-Legendre points of the path; only for eap_ig.
        direction: what eap predicts: ``noise`` m(x) − m(x with the edge as in x′), ``denoise`` m(x′ with the edge as in
            x) − m(x′). The path of eap_ig lies between both, so that its scores are the same either way.
        by_position: score every position by itself; all pairs must be of one length.
        progress: called with passes done and passes in all.
        keep: where the scores of every batch are kept as soon as they are known, such as ``Bundle.once``.

    Returns:
        Scores: of every edge, ``(edge,)`` means over cases and ``(case, edge)`` in units of m.

    Raises:
        PatchclampError: an unknown method or rule, pairs of several lengths by position, or scores that would not fit
            into memory.
        CannotIntervene: a model without such edges, or without gradients.

    Source: 2310.10348 for eap, 2403.17806 for eap_ig, both of which noise. Departs from them in scoring queries, keys
    and values of key-value heads as they are, in weighing points by Gauss and Legendre, and in the exit norms.

    Cost: two forward passes and one backward (eap_ig: ``steps`` more of both), and in every block a backward pass of
    its projections for each query, key and value. Memory: see ``edge_memory``.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> str(attribute_edges(cat, cat.read(task), method="relp").top(1)[0])
        'cat/embed/whole/0->cat/blocks.0.mlp.pre/whole/0'
    """
    name, rule = find_rule(method, "edge", rules=rules, steps=steps)
    # Edges take their gradients in runs of their own, which a subclass of Gradient knows nothing of.
    if type(rule) not in (Gradient, PathIntegral):
        raise PatchclampError(
            expected="a method that follows gradients", got=name, remedy="`patch_edges` measures edges one by one."
        )
    ruled = rule.rules if isinstance(rule, Gradient) else ()
    ends, sign = orient(cases, direction)
    graph = edge_map(model)
    n_places = check_one_length(cases) if by_position else None
    _check_memory(model, cases, by_position)
    integrated, path = isinstance(rule, PathIntegral), [(1.0, 1.0)]  # (α, weight): the clean end alone
    options: dict[str, Any] = {"level": "edge", "rules": list(ruled), "direction": direction}
    if isinstance(rule, PathIntegral):
        points, weights = np.polynomial.legendre.leggauss(rule.steps)
        path = [((a + 1) / 2, w / 2) for a, w in zip(points, weights, strict=True)]  # from [−1, 1] to [0, 1]
        options["steps"] = rule.steps
    scores: np.ndarray | None = None
    done, total = 0, len(path) * len(cases)

    def score(some: np.ndarray, done: int) -> dict[str, np.ndarray]:
        shown = [ends.clean[i] for i in some]
        other = _run(model, graph, [ends.counterpart[i] for i in some])
        clean = _run(model, graph, shown) if integrated else None
        per_edge: Tensor | None = None
        for alpha, weight in path:
            start = None if clean is None else _between(graph, clean, other, float(alpha))
            traced = _Traced(model, graph, shown, ends.metric(some), ruled, start)
            # (case, writer, position, d_model)
            change = _changes(model, graph, traced.values if clean is None else clean, other)
            here = traced.edges(change, by_position) * (sign * float(weight))  # (case, edge[, position])
            per_edge = here if per_edge is None else per_edge.add_(here)
            done += len(some)
            if progress is not None:
                progress(done, total)
        assert per_edge is not None
        return {"scores": per_edge.flatten(1).cpu().numpy()}

    for number, some in enumerate(ends.batches_by_length(rows_at_once(model, max(map(len, ends.clean)))), start=1):
        kept = keep(f"batch-{number:05d}", partial(score, some, done))
        done += len(path) * len(some)
        if scores is None:
            scores = np.zeros((len(cases), kept["scores"].shape[1]), dtype=kept["scores"].dtype)
        scores[some] = kept["scores"]
    assert scores is not None
    return scores_over(
        model,
        cases,
        graph.keys(model.name, n_places),
        scores.mean(0, dtype=np.float64),
        scores,
        method=f"attribute/{name}",
        options=options,
    )


def edge_memory(model: LanguageModel, cases: ReadTask, *, by_position: bool = False) -> int:
    """Estimate the bytes that scoring every edge takes: the scores, and what one batch holds.

    Of a batch: what every writer changes, both ends, the gradients and streams of every reader, what the backward pass
    needs, and the readers of one block beside each other.

    Args:
        model: the subject.
        cases: the cases.
        by_position: whether positions are kept apart.

    Returns:
        int: bytes besides the model's own.

    Example:
        >>> from patchclamp.core.task import Task
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> task = Task.of("the old cat", " sat", contrast=" ran", counterpart="the old dog")
        >>> edge_memory(cat, cat.read(task), by_position=True) > edge_memory(cat, cat.read(task)) > 0
        True
    """
    graph, longest = edge_map(model), max(map(len, cases.clean))
    per_edge = longest if by_position else 1
    rows = min(rows_at_once(model, longest), len(cases))
    stream, z = model.site("blocks.0.resid_in").width, model.site("blocks.0.attn.z")
    writes = graph.n_layers * (z.width + stream) + stream
    values = len(graph.writers) * stream + 3 * writes + 3 * graph.n_layers * stream
    values += 2 * max(z.n_heads, 1) * (z.width + 2 * stream)
    batch = rows * (4 * longest * values + count_backward_bytes(model, longest))
    return 4 * len(graph) * per_edge * (len(cases) + 2 * rows) + batch


def _check_memory(model: LanguageModel, cases: ReadTask, by_position: bool) -> None:
    free, needed = free_memory(), edge_memory(model, cases, by_position=by_position)
    if free is not None and needed > free:
        raise PatchclampError(
            expected=f"scores that fit into {free / 1e9:.1f} GB of free memory",
            got=f"{needed / 1e9:.1f} GB for {len(cases)} pairs",
            remedy="Take fewer pairs at once" + (", or no scores of single positions." if by_position else "."),
        )


# -- what writers write -----------------------------------------------------------------------------------------------

Values = Mapping[str, Float[Tensor, "row position width"]]


def _write_sites(graph: EdgeMap) -> list[str]:
    """Return the sites from which all writes follow."""
    inside = [f"blocks.{layer}.{kind}" for layer in range(graph.n_layers) for kind in ("attn.z", "mlp.write")]
    return [graph.stream(0), *inside]


def _run(model: LanguageModel, graph: EdgeMap, shown: Sequence[Stimulus]) -> Values:
    recording = model.run(shown, record=_write_sites(graph), logits=False).recording
    return {path: recording[path].unflatten(0, (len(shown), -1)) for path in recording.values}


def _between(graph: EdgeMap, clean: Values, other: Values, alpha: float) -> Restart:
    first = graph.stream(0)
    return Restart(0, other[first] + alpha * (clean[first] - other[first]))


def _changes(
    model: LanguageModel, graph: EdgeMap, clean: Values, other: Values
) -> Float[Tensor, "row writer position d_model"]:
    """Return u(x) − u(x′) of every writer, heads before any exit norm."""

    def change(path: str) -> Tensor:
        return upcast(clean[path]) - upcast(other[path])

    embedded = change(graph.stream(0))  # (row, position, d_model)
    changes = embedded.new_empty(len(embedded), len(graph.writers), *embedded.shape[1:])
    changes[:, 0] = embedded
    for layer in range(graph.n_layers):
        changes[:, graph.heads(layer)] = head_outputs(model, layer, change(f"blocks.{layer}.attn.z"))
        changes[:, graph.mlp(layer)] = change(f"blocks.{layer}.mlp.write")
    return changes


# -- what readers read ------------------------------------------------------------------------------------------------


class _Traced:
    """One forward pass with gradients, and m's gradient at what every reader made of its input.

    Args:
        model: the subject.
        graph: its edges.
        shown: rows of one length.
        metric: m, one per row.
        rules: relevance rules.
        start: where the first block begins from other embeddings than the prompt's.
    """

    def __init__(
        self,
        model: LanguageModel,
        graph: EdgeMap,
        shown: Sequence[Stimulus],
        metric: Any,
        rules: Sequence[str],
        start: Restart | None,
    ) -> None:
        self.model, self.graph, self.rules = model, graph, rules
        sites = [*_write_sites(graph), graph.stream(None)]
        self.read: dict[str, str] = {}
        for layer in range(graph.n_layers):
            self.read |= dict.fromkeys(graph.slots(layer), graph.stream(layer))
            self.read[f"blocks.{layer}.mlp.write"] = graph.stream(layer, mlp=True)
        sites += [*self.read, *self.read.values()]
        measured, self.held = model.trace(
            model.batch(list(shown)), metric, list(dict.fromkeys(sites)), rules=rules, restart=start
        )
        made = [*self.read, graph.stream(None)]
        ends = [self.held[path] for path in made]
        # Rules may hold what stands between: nothing passes then, and no gradient is a gradient of zero.
        gradients_or_none = torch.autograd.grad(
            measured, ends, torch.ones_like(measured), retain_graph=True, allow_unused=True
        )
        gradients = [torch.zeros_like(x) if g is None else g for x, g in zip(ends, gradients_or_none, strict=True)]
        self.gradients = dict(zip(made, gradients, strict=True))

    @property
    def values(self) -> Values:
        """The run's values at the sites from which all writes follow."""
        return {path: self.held[path].detach() for path in _write_sites(self.graph)}

    def edges(
        self, change: Float[Tensor, "row writer position d_model"], positions: bool
    ) -> Float[Tensor, "row edge ..."]:
        """Return Σ_d (u(x) − u(x′)) · ∂m/∂(input of v) of every edge, by position or summed."""
        change = self._after_norms(change)
        blocks = []

        def score(into: Float[Tensor, "reader row position d_model"], n_writers: int) -> None:
            # r readers, n rows, w writers, p positions, d d_model; then readers and writers become one axis of edges.
            to = "nrwp" if positions else "nrw"
            blocks.append(torch.einsum(f"rnpd,nwpd->{to}", upcast(into), change[:, :n_writers]).flatten(1, 2))

        # Readers in the order of the graph's edges: queries, keys, values and MLP of each block, then the logits. A
        # reader sees only the writers before it.
        for layer in range(self.graph.n_layers):
            for path, place in self.graph.slots(layer).items():
                score(self._into_heads(path, place.stop - place.start), int(self.graph.seen[place.start]))
            path = f"blocks.{layer}.mlp.write"
            score(self._back(path, self.gradients[path][None]), int(self.graph.seen[self.graph.queries(layer).stop]))
        score(self.gradients[self.graph.stream(None)][None], len(self.graph.writers))
        return torch.cat(blocks, 1)

    def _into_heads(self, path: str, n_heads: int) -> Float[Tensor, "head row position d_model"]:
        """Return m's gradient at the stream, as each head's query (key, value) alone hands it on."""
        own = self.gradients[path].unflatten(-1, (n_heads, -1))  # (row, position, head, d_head)
        alone = own.new_zeros(n_heads, *own.shape)  # row h: the gradient of head h alone, all others 0
        for head in range(n_heads):
            alone[head, ..., head, :] = own[..., head, :]
        return self._back(path, alone.flatten(-2))

    def _back(
        self, path: str, gradients: Float[Tensor, "reader row position width"]
    ) -> Float[Tensor, "reader row position d_model"]:
        """Return gradients at what readers made of the stream, handed back to the stream."""
        made, stream = self.held[path], self.held[self.read[path]]
        into, alone = None, len(gradients) == 1  # an MLP: what its experts do inside need not know of batched gradients
        if made.grad_fn is not None:
            # One backward pass from what was read to the stream, for all readers at once.
            given = gradients[0] if alone else gradients
            [into] = torch.autograd.grad(
                made, stream, given, retain_graph=True, is_grads_batched=not alone, allow_unused=True
            )
        if into is None:  # rules cut the path: no gradient is a gradient of zero
            return stream.new_zeros(len(gradients), *stream.shape)
        return into[None] if alone else into

    def _after_norms(self, change: Tensor) -> Tensor:
        """Follow what heads write through the exit norms of this run, to first order."""
        if exit_norm(self.model, 0) is None:
            return change
        change = change.clone()
        for layer in range(self.graph.n_layers):
            norm = exit_norm(self.model, layer)
            assert norm is not None
            heads = self.graph.heads(layer)
            # The norm reads the sum of all heads, so its Jacobian is taken there and applied to each head's change.
            y = attention_output(self.model, layer, self.held[f"blocks.{layer}.attn.z"].detach())[:, None]
            if "ln" in self.rules:
                with torch.no_grad():
                    change[:, heads] = linearised_norm(norm, self.model.covering_family().gain, y)(change[:, heads])
            else:
                each = change[:, heads].to(y)
                change[:, heads] = torch.autograd.functional.jvp(norm, y.expand_as(each), each)[1].to(change)
        return change
