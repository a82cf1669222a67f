"""Which methods find the planted edges, and which miss them."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from patchclamp import organisms
from patchclamp.attribute.engine import score_edges
from patchclamp.calibrate.planted import PlantedResult, count_found
from patchclamp.core.arguments import checked
from patchclamp.core.edge_map import EdgeMap
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import change
from patchclamp.core.method_index import find_default, list_names
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.subject import Progress
from patchclamp.core.task import Case, Task
from patchclamp.core.unit import UnitKey
from patchclamp.subjects.cases import ReadCase, ReadTask
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.residual_edges import edge_map

EDGE_METHODS = list_names("attribute", "edge")
Fold = tuple[str, str]
"""Who writes and who reads, as coarse as edges are: an MLP is one node, heads that share keys and values one reader."""
BESIDE: Mapping[str, tuple[Fold, ...]] = {
    "saturated": (("input", "blocks.1.mlp"), ("blocks.1.mlp", "output")),
    "decoy": (("blocks.0.mlp", "blocks.1.mlp"), ("blocks.1.mlp", "output")),
    "backup": (
        ("blocks.0.attn.z/heads/0", "blocks.1.mlp"),
        ("blocks.0.attn.z/heads/2", "blocks.1.mlp"),
        ("blocks.1.mlp", "output"),
    ),
}
"""Planted too, by neurons that are no cause: the lean that stands for ``input → output`` in saturated, what takes the
decoy off again, the caps of the pair that backs itself up. A graph of causes leaves them out; whole MLPs show them."""
INSTEAD: Mapping[str, tuple[Fold, ...]] = {"saturated": (("input", "output"),)}


@checked
def calibrate_edges(
    names: Sequence[str] | None = None, *, methods: Sequence[str] = EDGE_METHODS, progress: Progress | None = None
) -> list[PlantedResult]:
    """Score the edges of planted circuits by every method, and count the planted ones among the highest.

    The clean prompt is compared with its card's corrupted one and with itself with one word in turn unknown: a
    circuit's edges are those along which any word can change the answer. An edge's strength is its largest score by
    magnitude over these pairs, and of a head's query, key and value the largest. Planted edges are those of
    ``organisms.truth``, neurons standing for their MLP.

    Args:
        names: planted organisms (default: all).
        methods: cards of the room attribute that score edges.
        progress: called with organisms done and organisms in all.

    Returns:
        list[Finding]: per organism the methods in order, then ``random`` and ``oracle``.

    Raises:
        PatchclampError: no such organism or method.

    Cost: about a second per organism, most of it exact patching.

    Example:
        >>> [(f.method, f.found, f.true) for f in calibrate_edges(["cat"], methods=["activation_patching"])][:1]
        [('activation_patching', 3.0, 3)]
    """
    unknown = [method for method in methods if method not in EDGE_METHODS]
    chosen = list(dict.fromkeys(names)) if names is not None else list(organisms.planted.names())
    strange = [name for name in chosen if name not in organisms.planted.names()]
    if unknown or strange:
        raise PatchclampError(
            expected=f"methods among {', '.join(EDGE_METHODS)}" if unknown else "planted organisms",
            got=", ".join(unknown or strange),
            remedy="Choose some of these." if unknown else "`patchclamp organism list` shows them.",
        )
    results: list[PlantedResult] = []
    for i, name in enumerate(chosen):
        results += _calibrate_circuit(name, methods)
        if progress is not None:
            progress(i + 1, len(chosen))
    return results


def _calibrate_circuit(name: str, methods: Sequence[str]) -> list[PlantedResult]:
    model = organisms.planted.build(name)
    cases, graph = cases_of(model, name), edge_map(model)
    folds = [(writer_of(u), reader_of(v, graph)) for u, v in graph.parts]
    names = list(dict.fromkeys(folds))
    exact = fold_strengths(_scores(model, cases, find_default("circuit", "attribute")), folds, names)
    planted = [names.index(fold) for fold in planted_folds(name, graph)]
    scored = {}
    for method in methods:
        began = time.perf_counter()
        scored[method] = fold_strengths(_scores(model, cases, method), folds, names), time.perf_counter() - began
    return count_found(name, planted, exact, scored)


def cases_of(model: LanguageModel, name: str) -> ReadTask:
    """Return a card's clean prompt, beside its corrupted one, and beside itself with each word unknown."""
    card = organisms.card(name)
    clean = model.tokenize(card["prompt"])
    target, contrast = (model.continuation(card["prompt"], card[role]) for role in ("target", "contrast"))
    metric = Metric("logit_difference", target, contrast)
    others = [model.tokenize(card["corrupt"])]
    for place in range(1, len(clean)):
        ids = clean.ids.copy()
        ids[place] = model.tokenizer.bare.unk_token_id
        others.append(Stimulus.of(ids))
    n = len(others)
    case = Case(card["prompt"], card["corrupt"], (card["target"],), (card["contrast"],))
    ends = [model.measure(shown, metric).double().cpu().numpy() for shown in ([clean] * n, others)]
    return ReadTask(Task((case,) * n), tuple(ReadCase(clean, other, metric) for other in others), ends[0], ends[1])


def _scores(model: LanguageModel, cases: ReadTask, method: str) -> Float[np.ndarray, "pair edge"]:
    each = score_edges(model, cases, method=method).per_case
    assert each is not None
    return each


def fold_strengths(
    scores: Float[np.ndarray, "pair edge"], folds: Sequence[Fold], names: Sequence[Fold]
) -> Float[np.ndarray, " fold"]:
    """Return the largest score by magnitude, over pairs and over edges that fold into one.

    Returns:
        Float[np.ndarray, " fold"]: at least 0.

    Source: 2304.14997, scores of edges between parts; the largest by magnitude is ours.

    Example:
        >>> fold_strengths(np.array([[0.5, -2.0]]), [("a", "b"), ("a", "b")], [("a", "b")]).tolist()
        [2.0]
    """
    at = {fold: i for i, fold in enumerate(names)}
    strengths = np.zeros(len(names))
    np.maximum.at(strengths, [at[fold] for fold in folds], np.abs(scores).max(0))
    return strengths


def writer_of(key: str) -> str:
    """Return what writes, as the planted graph names it.

    Example:
        >>> writer_of("embed/whole/0"), writer_of("blocks.0.mlp.write/whole/0"), writer_of("blocks.0.attn.z/heads/1")
        ('input', 'blocks.0.mlp', 'blocks.0.attn.z/heads/1')
    """
    site = UnitKey.parse(key).site
    return "input" if site == "embed" else site.removesuffix(".write") if ".mlp" in site else key


def reader_of(key: str, graph: EdgeMap) -> str:
    """Return what reads: of heads the group that shares keys and values.

    Example:
        >>> graph = EdgeMap(2, 4, 2)
        >>> [reader_of(f"blocks.1.attn.{slot}/heads/1", graph) for slot in "qkv"]
        ['blocks.1.attn/0', 'blocks.1.attn/1', 'blocks.1.attn/1']
    """
    unit = UnitKey.parse(key)
    if unit.site == "final":
        return "output"
    block, _, kind = unit.site.rpartition(".")
    if block.endswith(".mlp"):
        return block
    return f"{block}/{unit.index // (graph.n_heads // graph.n_kv_heads if kind in 'qz' else 1)}"


def planted_folds(name: str, graph: EdgeMap) -> list[Fold]:
    """Return the planted edges of an organism, as coarse as edges are."""
    circuit = organisms.card(name)["circuit"]

    def place(key: str, *, reads: bool) -> str:
        if key.startswith(("input", "output")):
            return key.partition("@")[0]
        unit = UnitKey.parse(key.removeprefix(f"{name}/")).without_place()
        if ".mlp" in unit.site:
            return unit.site.rpartition(".")[0]
        return reader_of(str(unit), graph) if reads else str(unit)

    edges = organisms.truth(name).edges
    folds = [(place(e.source, reads=False), place(e.target, reads=True)) for e in edges]
    kept = [fold for fold in folds if fold not in INSTEAD.get(circuit, ())]
    return list(dict.fromkeys([*kept, *BESIDE.get(circuit, ())]))


@checked
def ablate_pair(name: str) -> dict[str, Any] | None:
    """Measure a pair that backs itself up: each node ablated alone, and both.

    Args:
        name: a planted organism.

    Returns:
        m, and how much of it each node alone and both together take; None where there is no such pair.

    Example:
        >>> effects = ablate_pair("backup-gpt2")
        >>> [round(x, 2) for x in effects["alone"]], round(effects["together"], 2)
        ([0.0, 0.0], 7.99)
    """
    card = organisms.card(name)
    if "either" not in card:
        return None
    model = organisms.planted.build(name)
    target, contrast = (model.continuation(card["prompt"], card[role]) for role in ("target", "contrast"))
    metric = Metric("logit_difference", target, contrast)
    keys = [UnitKey.parse(key) for key in card["either"]["nodes"]]
    cuts = [change("ablate", key.site, key.index, basis=key.basis, at=key.position) for key in keys]
    m, *rest = model.sweep(card["prompt"], metric, [[], *([cut] for cut in cuts), cuts]).tolist()
    return {
        "organism": name,
        "m": m,
        "nodes": card["either"]["nodes"],
        "alone": [m - x for x in rest[:-1]],
        "together": m - rest[-1],
    }
