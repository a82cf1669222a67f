"""Answer: score every MLP neuron and head at every position, and check the best by ablation beside random sets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from patchclamp.core.errors import PatchclampError
from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.intervention import Intervention, Source, Span
from patchclamp.core.recording import Recording
from patchclamp.core.stats import Interval, mean_interval, rank_of, spearman
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.core.unit import UnitKey
from patchclamp.explain.question import Question, ask
from patchclamp.subjects.language import LanguageModel

LEVELS = {"neuron": ("mlp.act", "neurons"), "head": ("attn.z", "heads")}
N_CONTROLS = 20


@dataclass(frozen=True)
class Cause:
    """One neuron or head at one position, with what was predicted and what its ablation did.

    Args:
        key: its key.
        kind: ``neuron`` or ``head``.
        position: logical position.
        token: the token there, as text.
        activation: its value (a head's: the norm of its z).
        predicted: score: how much of the metric it is predicted to carry.
        measured: m(clean) − m(clean with it replaced); nan where it was not replaced.
        promotes: tokens that its write promotes most, directly through the unembedding.
    """

    key: str
    kind: str
    position: int
    token: str
    activation: float
    predicted: float
    measured: float
    promotes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """An answer explained, with its receipts.

    Args:
        question: what was asked.
        subject: slug and hash.
        baseline: m on the clean prompt.
        corrupted: m on the corrupted prompt, or None.
        probability: of the target's deciding token at the place that the metric reads first.
        likeliest: the model's own first answers with their probabilities.
        causes: the top k by predicted effect, highest first.
        opposing: the strongest against the answer; predicted only.
        predicted: Σ predicted of the causes.
        measured: m(clean) − m(all causes replaced together).
        controls: ``(set,)`` the same for random sets matched on site and position.
        control_size: units in each random set; fewer than causes where most of a site was chosen.
        control_interval: 95 % interval of the controls' mean.
        p: share of random sets at least as strong, with +1 correction.
        rank_correlation: Spearman's ρ of predicted against measured over the causes.
        total: Σ predicted over every neuron and head at every position.
        reference: ``zero``, or ``corrupted``: what replaces a value.
        seed: of the random sets.
    """

    question: Question
    subject: dict[str, str]
    baseline: float
    corrupted: float | None
    probability: float
    likeliest: tuple[tuple[str, float], ...]
    causes: tuple[Cause, ...]
    opposing: tuple[Cause, ...]
    predicted: float
    measured: float
    controls: tuple[float, ...]
    control_size: int
    control_interval: Interval
    p: float
    rank_correlation: float
    total: float
    reference: str
    seed: int

    def graph(self) -> Graph:
        """Return the explanation as a Graph: one node per cause, an edge from each to the output."""
        q = self.question
        nodes = [
            Node(c.key, c.kind, c.predicted, {"activation": c.activation, "measured": c.measured}) for c in self.causes
        ]
        output = Node("output", "output", self.baseline)
        measures = {
            "baseline": self.baseline, "predicted": self.predicted, "measured": self.measured, "total": self.total,
            "completeness_gap": self.total - (self.baseline - (self.corrupted or 0.0)),
            "control_mean": float(np.mean(self.controls)), "control_low": self.control_interval.low,
            "control_high": self.control_interval.high, "p": self.p,
        }  # fmt: skip
        about = {
            "prompt": q.prompt, "target": q.target, "contrast": q.contrast, "corrupt": q.corrupt,
            "method": "activation x gradient", "reference": self.reference, "seed": self.seed,
        }  # fmt: skip
        edges = tuple(Edge(c.key, "output", c.predicted) for c in self.causes)
        return Graph(self.subject, q.metric.to_json(), (*nodes, output), edges, measures, about)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data."""
        data = {
            k: v for k, v in self.__dict__.items() if k not in ("question", "causes", "opposing", "control_interval")
        }
        q = self.question
        return {
            "question": {
                "prompt": q.prompt, "target": q.target, "contrast": q.contrast, "corrupt": q.corrupt,
                "answers": list(q.answers), "metric": q.metric.to_json(),
            },
            **data,
            "rank_correlation": self.rank_correlation if np.isfinite(self.rank_correlation) else None,
            "control_interval": asdict(self.control_interval),
            "causes": [asdict(c) for c in self.causes],
            "opposing": [{**asdict(c), "measured": None} for c in self.opposing],
        }  # fmt: skip


def explain_answer(
    model: LanguageModel,
    prompt: str,
    target: str,
    *,
    contrast: str | None = None,
    corrupt: str | None = None,
    levels: Sequence[str] = ("neuron", "head"),
    top: int = 20,
    n_controls: int = N_CONTROLS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Explanation:
    r"""Find which neurons and heads gave an answer, and prove it by ablation.

    Score of unit n at position p: n(x) · ∂m/∂n |ₓ, or with a corrupted prompt x′ (n(x) − n(x′)) · ∂m/∂n |ₓ′; a head's
    is the sum over its z. The top k are then replaced (by 0, or by their values under x′) together and one by one;
    random sets of as many other units at the same sites and positions are replaced beside them.

    Args:
        model: the subject.
        prompt: the text, without a space at its end.
        target: the answer, with its leading space.
        contrast: the answer it is held against.
        corrupt: a prompt of as many tokens under which the answer should be lost.
        levels: ``neuron`` (every MLP neuron), ``head`` (every attention head), or both.
        top: how many causes to name and replace.
        n_controls: random sets.
        seed: of the random sets.
        progress: called with replacements done and replacements in all.

    Returns:
        Explanation: scores, receipts, controls.

    Raises:
        PatchclampError: see ``ask``; also a subject without canonical sites or
            gradients, or a metric that is not finite.

    Source: attribution patching as in 2508.21258 (methods compared there), with zero or corrupted reference; controls
    are ours.

    Cost: two or three forward passes, one backward, then 1 + k + n_controls rows of restarted forwards; memory of all
    neurons' values and gradients at the prompt's positions.

    Example:
        >>> from patchclamp.opening import load
        >>> explain_answer(load("organism:cat"), "the old cat", " sat", contrast=" ran", top=5).causes[0].key
        'cat/blocks.0.mlp.act/neurons/7@3'
    """
    if top < 1 or n_controls < 2:
        raise PatchclampError(
            expected="at least 1 cause and 2 random sets", got=f"{top} and {n_controls}", remedy="Ask for more."
        )
    model.require("differentiate")
    if model.family is None:
        model.require("attention")
    question = ask(model, prompt, target, contrast=contrast, corrupt=corrupt)
    scores, clean, baseline, corrupted_metric, reference = _score(model, question, levels)
    if not np.isfinite(baseline):
        raise PatchclampError(
            expected="a finite metric",
            got=str(baseline),
            remedy="The model overflows in this dtype; try --dtype float32.",
        )
    flat = _flatten(scores)
    order = np.argsort(-flat.score, kind="stable").tolist()
    chosen = [flat.node(i) for i in order[:top] if flat.score[i] > 0]
    against = [flat.node(i) for i in order[::-1][:5] if flat.score[i] < 0]
    if not chosen:
        raise PatchclampError(
            expected="units that push towards the answer",
            got="none with a positive score",
            remedy="Swap target and contrast, or give a corrupted prompt.",
        )
    controls = _matched(chosen, scores, n_controls, seed)
    groups = [chosen, *([n] for n in chosen), *controls]
    effects = baseline - _replace(model, question, groups, reference, progress)
    measured, singles, random_sets = effects[0], effects[1 : 1 + len(chosen)], effects[1 + len(chosen) :]
    causes = _describe(model, question.shown, chosen, singles, clean)
    opposing = _describe(model, question.shown, against, np.full(len(against), np.nan), clean)
    probability, likeliest = _first_answers(model, question)
    predicted_each = np.array([n.score for n in chosen])
    return Explanation(
        question=question,
        subject={"slug": model.name, "hash": model.hash},
        baseline=baseline,
        corrupted=corrupted_metric,
        probability=probability,
        likeliest=likeliest,
        causes=causes,
        opposing=opposing,
        predicted=float(predicted_each.sum()),
        measured=float(measured),
        controls=tuple(float(c) for c in random_sets),
        control_size=len(controls[0]),
        control_interval=mean_interval(random_sets, seed=seed),
        p=rank_of(float(measured), random_sets),
        rank_correlation=spearman(predicted_each, singles) if len(chosen) > 2 else float("nan"),
        total=float(flat.score.sum()),
        reference="zero" if reference is None else "corrupted",
        seed=seed,
    )


@dataclass(frozen=True)
class _Node:
    """A unit at a position, before it has a description."""

    site: str
    basis: str
    index: int
    position: int
    score: float


@dataclass(frozen=True, eq=False)
class _Flat:
    """Every node's score in one array, with the way back to its node."""

    score: np.ndarray
    blocks: list[tuple[str, str, int, int]]
    first: np.ndarray

    def node(self, i: int) -> _Node:
        block = int(np.searchsorted(self.first, i, side="right")) - 1
        site, basis, _, n_units = self.blocks[block]
        position, index = divmod(int(i - self.first[block]), n_units)
        return _Node(site, basis, index, position, float(self.score[i]))


def _flatten(scores: dict[tuple[str, str], np.ndarray]) -> _Flat:
    blocks = [(site, basis, *values.shape) for (site, basis), values in scores.items()]
    first = np.concatenate([[0], np.cumsum([v.size for v in scores.values()])])
    return _Flat(np.concatenate([v.ravel() for v in scores.values()]), blocks, first)


def _score(
    model: LanguageModel, question: Question, levels: Sequence[str]
) -> tuple[dict[tuple[str, str], np.ndarray], Recording, float, float | None, Recording | None]:
    """Return ``(position, unit)`` scores per site, the clean run's values, m clean, m corrupted, and the reference."""
    unknown = [level for level in levels if level not in LEVELS]
    if unknown or not levels:
        raise PatchclampError(
            expected=f"levels among {', '.join(LEVELS)}", got=", ".join(unknown) or "none", remedy="Choose one."
        )
    kinds = {LEVELS[level][0]: LEVELS[level][1] for level in levels}
    paths = [site.path for site in model.sites() if site.kind in kinds]
    if not paths:
        raise PatchclampError(
            expected="a model with blocks", got=f"{model.name}, which has none", remedy="Check its config."
        )
    if question.corrupted is None:
        found = model.differentiate(question.shown, question.metric, paths)
        clean, difference, gradients = found.values, found.values, found.gradients
        baseline, corrupted, reference = float(found.metric[0]), None, None
    else:
        run = model.run(question.shown, record=paths, logits=question.metric.positions)
        assert run.logits is not None
        found = model.differentiate(question.corrupted, question.metric, paths)
        clean, gradients, reference = run.recording, found.gradients, found.values
        difference = Recording(clean.stimuli, {p: clean[p] - reference[p] for p in paths}, clean.sites)
        baseline, corrupted = float(question.metric(run.logits.float())[0]), float(found.metric[0])
    scores = {}
    for path in paths:
        site = model.site(path)
        product = difference[path].float() * gradients[path].float()
        basis = kinds[site.kind]
        if basis == "heads":
            product = product.unflatten(1, (site.n_heads, -1)).sum(-1)
        scores[path, basis] = product.double().cpu().numpy()
    return scores, clean, baseline, corrupted, reference


def _replace(
    model: LanguageModel,
    question: Question,
    groups: Sequence[Sequence[_Node]],
    reference: Recording | None,
    progress: Progress | None,
) -> np.ndarray:
    """Return ``(group,)`` metric values, each with one group of nodes replaced together."""
    cells = [[_replaced(node, reference) for node in group] for group in groups]
    return model.sweep(question.shown, question.metric, cells, progress=progress).double().cpu().numpy()


def _replaced(node: _Node, reference: Recording | None) -> Intervention:
    at = (Span(node.position, node.position + 1),)
    if reference is None:
        return Intervention(node.site, "ablate", (node.index,), node.basis, at)
    return Intervention(node.site, "patch", (node.index,), node.basis, at, source=Source(reference))


def _matched(
    chosen: Sequence[_Node], scores: dict[tuple[str, str], np.ndarray], n_sets: int, seed: int
) -> list[list[_Node]]:
    """Draw random sets: for each chosen node another unit of the same site and position, none chosen, none twice."""
    draw = np.random.default_rng(seed)
    taken: dict[tuple[str, str, int], list[int]] = {}
    for n in chosen:
        taken.setdefault((n.site, n.basis, n.position), []).append(n.index)
    sets: list[list[_Node]] = []
    for _ in range(n_sets):
        nodes: list[_Node] = []
        for (site, basis, position), indices in taken.items():
            row = scores[site, basis][position]
            free = np.setdiff1d(np.arange(len(row)), indices)
            # Where most of a site was chosen there are fewer others than needed; then all of them are taken.
            picked = draw.choice(free, size=min(len(indices), len(free)), replace=False)
            nodes += [_Node(site, basis, int(i), position, float(row[i])) for i in picked]
        sets.append(nodes)
    return sets


def _describe(
    model: LanguageModel, shown: Stimulus, nodes: Sequence[_Node], measured: Any, clean: Recording
) -> tuple[Cause, ...]:
    described = []
    for node, effect in zip(nodes, measured, strict=True):
        row: Tensor = clean[node.site][node.position]
        site = model.site(node.site)
        block = site.width // site.n_heads if node.basis == "heads" else 1
        own = slice(node.index * block, (node.index + 1) * block)
        alone = torch.zeros_like(row)
        alone[own] = row[own]
        value = float(row[own].float().norm()) if block > 1 else float(row[own])
        described.append(
            Cause(
                key=str(UnitKey(node.site, node.index, node.basis, model.name, node.position)),
                kind="head" if node.basis == "heads" else "neuron",
                position=node.position,
                token=model.tokenizer.token(int(shown.ids[node.position])),
                activation=value,
                predicted=node.score,
                measured=float(effect),
                promotes=_promoted(model, node.site, alone),
            )
        )
    return tuple(described)


def _promoted(model: LanguageModel, site: str, values: Tensor, n: int = 4) -> tuple[str, ...]:
    logits = model.read_out(model.written(site, values[None]))[0]
    return tuple(model.tokenizer.token(int(i)) for i in logits.float().topk(min(n, len(logits))).indices)


def _first_answers(model: LanguageModel, question: Question) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Return the target's probability where the metric first reads, and the model's five likeliest answers there."""
    logits = model.run(question.shown, logits=question.metric.positions[:1]).logits
    probabilities = logits[0, 0].float().softmax(-1)
    best = probabilities.topk(min(5, len(probabilities)))
    likeliest = [(model.tokenizer.token(int(i)), float(p)) for p, i in zip(best.values, best.indices, strict=True)]
    return float(probabilities[question.metric.target[0]]), tuple(likeliest)
