"""Scores over cases whose highest keys are its parts. Its folder, what it was found on, and its graph."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from patchclamp.core.arguments import Natural
from patchclamp.core.bundle import Bundle
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.keys import Part
from patchclamp.core.scores import FOLDER, KINDS, Scores
from patchclamp.core.stats import mean_interval
from patchclamp.core.task import Task, words_of
from patchclamp.core.unit import UnitKey

PAGE = "circuit.html"
OUTPUT, ROUNDING = "output", 1e-6
N_LISTED = 20
"""Parts that a table lists, at least."""
_READER = re.compile(r"(?P<block>blocks\.\d+)\.(?:attn\.(?P<slot>[qkv])/heads|mlp\.pre/whole)/(?P<index>\d+)")

Level = Literal["node", "edge", "neuron", "feature"]
LEVELS: tuple[Level, ...] = ("node", "edge", "neuron", "feature")


def holds_circuit(bundle: Bundle) -> bool:
    """Say whether a folder holds scores whose first parts were measured together, as ``circuit find`` writes it."""
    made = bundle.manifest.get("provenance")
    extra = made.get("extra") if isinstance(made, dict) else None
    return bundle.manifest.get("kind") == FOLDER and isinstance(extra, dict) and "receipt" in extra


def is_measured(scores: Scores) -> bool:
    """Say whether every score was measured by replacing its part: nothing is predicted then."""
    return bool(scores.provenance.extra.get("measured"))


def load_circuit(folder: str | Path) -> Scores:
    """Read the folder of scores that ``circuit find`` wrote, and check what it says of its cases and its receipt.

    Raises:
        PatchclampError: no scores there.
        Damaged: a part is missing, changed, or of another type.
    """
    bundle = Bundle.open(folder)
    if bundle.manifest["kind"] == "circuit":
        raise PatchclampError(
            expected="a folder of scores",
            got=f"a circuit of an earlier version at {folder}",
            remedy="Find it again: patchclamp circuit find MODEL --pairs PAIRS --out DIR",
        )
    scores = Scores.load(folder)
    extra = scores.provenance.extra
    wrong = [name for name, fits in _SAID.items() if name in extra and not fits(extra[name])]
    if not len(scores) or wrong:
        raise Damaged(
            expected="a whole circuit",
            got=f"{folder}: {wrong[0] + ' in it is none' if wrong else 'it has no parts'}",
            remedy="Restore the folder, or find the circuit again.",
        )
    return scores


def describe_origin(scores: Scores) -> dict[str, Any]:
    """Return what a circuit says of itself, as JSON-ready data: cases, metric, both ends of m, settings, versions."""
    made, extra = scores.provenance, scores.provenance.extra
    settings = {name: value for name, value in made.options.items() if name != "level"}
    settings |= {"gap": extra["gap"]} if "gap" in extra else {}
    return {
        "pairs": list(extra.get("cases", ())),
        "metric": extra.get("metric", ""),
        "m_clean": scores.metric_clean,
        "m_corrupted": scores.metric_baseline,
        "aside": dict(extra.get("skipped", {})),
        **({"answer_notes": list(extra["answer_notes"])} if "answer_notes" in extra else {}),
        "settings": {**settings, "seed": made.seed},
        "versions": dict(made.versions),
        "bases": {name: own for name, own in made.hashes.items() if "/" in name},  # other inputs have names without /
    }


def to_document(found: Scores) -> dict[str, Any]:
    """Return a circuit as JSON-ready data: its facts, its first parts and its receipt.

    Args:
        found: what ``circuit find`` makes.

    Cost: a bootstrap over pairs for each part that is listed.
    """
    receipt = found.provenance.extra.get("receipt")
    order, names = found.order(), found.names()
    alone = dict(zip(receipt["parts"], receipt["alone"], strict=True)) if receipt else {}
    seed = receipt["seed"] if receipt else 0
    parts = []
    for i in map(int, order[: max(N_LISTED, len(alone))]):
        each = found.per_case
        interval = None
        if each is not None and len(each) > 1:
            interval = mean_interval(each[:, i].astype(np.float64), seed=seed)
        parts.append(
            {
                "part": names[i],
                "score": float(found.values[i]),
                "low": interval.low if interval else None,
                "high": interval.high if interval else None,
                "measured": alone.get(names[i]),
            }
        )
    subject = {"slug": found.provenance.subject, "hash": found.provenance.subject_hash}
    return {
        "subject": subject,
        "level": found.level,
        "method": found.method,
        "is_measured": is_measured(found),
        "about": describe_origin(found),
        "n_parts": len(found),
        "parts": parts,
        "receipt": receipt,
    }


def draw_graph(
    scores: Scores, most: Natural = 200, *, tokens: Sequence[str] = (), measures: Mapping[str, float] | None = None
) -> Graph:
    """Return the parts of largest |score| as a graph; of edges those that differ from zero by more than rounding.

    Units lead to the output each, with their scores. Edges run between units: a reader is folded into the unit that it
    belongs to, a head's query, key or value into the head with the slot named on the edge, an MLP's input into what the
    MLP writes; an edge to keys or values that several heads share stands at each of these heads, in equal parts. A node
    then has the sum of all edges out of it as its score, those that are not shown included.

    Args:
        scores: of units or of edges, over cases.
        most: parts at most.
        tokens: of the first case's prompt, where parts have positions.
        measures: numbers of the whole, beside m at both ends.

    Returns:
        Graph: keys begin with the subject's slug; ``about`` holds the cases that can be asked again.
    """
    shown = scores.places(most, signed=False)
    if scores.of_edges:  # of most edges nothing but rounding is known
        shown = shown[np.abs(scores.values[shown]) > ROUNDING * np.abs(scores.values).max(initial=0.0)]
    made = scores.provenance
    head = f"{made.subject}/" if made.subject else ""
    ends = {
        name: value if np.isfinite(value) else 0.0
        for name, value in (("metric_clean", scores.metric_clean), ("metric_baseline", scores.metric_baseline))
    }
    output = Node(OUTPUT, OUTPUT, ends["metric_clean"] - ends["metric_baseline"])
    if scores.of_edges:
        folding = _Folding(scores, head)
        edges = [edge for i in shown for edge in folding.edges(int(i))]
        named = dict.fromkeys(key for edge in edges for key in (edge.source, edge.target) if key != OUTPUT)
        nodes = [Node(key, _kind_of(key), folding.out_of.get(key.removeprefix(head), 0.0)) for key in named]
    else:
        keys = [(head + str(scores.parts[i]), float(scores.values[i])) for i in map(int, shown)]
        nodes = [Node(key, _kind_of(key), score) for key, score in keys]
        edges = [Edge(key, OUTPUT, score) for key, score in keys]
    origin = describe_origin(scores)
    task = made.extra.get("task")
    first = Task.from_json(task).cases[0].in_words() if task else None
    about = {
        "prompt": words_of(first.shown) if first else "",
        "target": "".join(first.targets[:1]) if first else "",
        "contrast": ("".join(first.contrasts[:1]) if first else "") or None,
        "corrupt": (words_of(first.counterpart) if first else "") or None,
        "baseline": "corrupted",
        "method": scores.method,
        "level": scores.level,
        "n_pairs": len(origin["pairs"]),
        "task": task,
        "edges": {"kind": "direct" if scores.of_edges else "total", "method": made.method},
        "tokens": list(tokens),
        "layers": 1 + max(map(_block_of, scores.names())),
        "settings": origin["settings"],
        "bases": origin["bases"],
        **_verdict_of(made.extra.get("receipt") or {}, made.extra.get("answer_notes") or ()),
    }
    subject = {"slug": made.subject, "hash": made.subject_hash}
    metric = {"kind": origin["metric"] or "logit_difference"}
    return Graph(subject, metric, (*nodes, output), tuple(edges), {**ends, **(measures or {})}, about)


def _verdict_of(receipt: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
    """Return what a circuit's receipt says, as a graph holds it; empty where nothing was measured."""
    if not receipt.get("sentence"):
        return {}
    return {
        "grade": receipt["verdict"],
        "sentence": receipt["sentence"],
        "cautions": [f"{note}." for note in notes],
        "quantity": receipt.get("quantity", ""),
    }


@dataclass(frozen=True, eq=False)
class _Folding:
    """Turn edges from writers to readers into edges between units."""

    scores: Scores
    head: str

    @cached_property
    def parts(self) -> Sequence[Part]:
        """Who writes and who reads, of every edge."""
        return self.scores.parts

    @cached_property
    def readers(self) -> frozenset[str]:
        """Keys of all readers."""
        return frozenset(part[1] for part in self.parts)

    @cached_property
    def out_of(self) -> dict[str, float]:
        """Sum of all edges out of each writer."""
        sums: dict[str, float] = {}
        for part, score in zip(self.parts, self.scores.values.tolist(), strict=True):
            sums[part[0]] = sums.get(part[0], 0.0) + score
        return sums

    def edges(self, i: int) -> list[Edge]:
        """Return an edge between units: several where heads share a key or value."""
        source, reader = self.parts[i][0], self.parts[i][1]
        source, weight = self.head + source, float(self.scores.values[i])
        match = _READER.match(reader)
        if match is None:
            return [Edge(source, OUTPUT, weight)]
        block, slot, index = match["block"], match["slot"] or "", int(match["index"])
        if not slot:
            return [Edge(source, f"{self.head}{block}.mlp.write/whole/0", weight)]
        share = self._sharing(block)
        heads = [index] if slot == "q" else range(index * share, (index + 1) * share)
        return [Edge(source, f"{self.head}{block}.attn.z/heads/{h}", weight / len(heads), slot) for h in heads]

    def _sharing(self, block: str) -> int:
        """Return how many heads of a block read one key."""
        n_heads, n_kv = (sum(r.startswith(f"{block}.attn.{slot}/") for r in self.readers) for slot in ("q", "k"))
        return max(1, n_heads // max(1, n_kv))


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and bool(np.isfinite(x))


def _is_end(x: Any) -> bool:
    return x is None or _is_number(x)


def _is_count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 2**63


def _is_words(x: Any) -> bool:
    return isinstance(x, list) and all(isinstance(word, str) for word in x)


def _is_task(x: Any) -> bool:
    try:
        return _is_table(x) and len(Task.from_json(x)) > 0
    except PatchclampError:
        return False


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: isinstance(x, list) and all(map(fits, x))


def _is_interval(x: Any) -> bool:
    return isinstance(x, list) and len(x) == 2 and all(map(_is_end, x))


def _is_table(x: Any) -> bool:
    return isinstance(x, dict)


def _is_receipt(x: Any) -> bool:
    is_receipt = isinstance(x, dict) and all(name in x and fits(x[name]) for name, fits in _RECEIPT.items())
    if not is_receipt or not 0 < len(x["parts"]) == len(x["alone"]) or not _is_count(x.get("asked", 0)):
        return False
    words = [x.get(name, "") for name in ("verdict", "sentence", "rule", "step")]
    if not all(isinstance(word, str) for word in words) or not _is_words(x.get("reasons", [])):
        return False
    agreement = x.get("agreement") or {}
    return _is_table(agreement) and all(map(_is_end, (*agreement.values(), x.get("random_predicted"))))


_RECEIPT: Mapping[str, Callable[[Any], bool]] = {
    "parts": _is_words,
    "alone": _is_list_of(_is_number),
    "predicted": _is_number,
    "measured": _is_number,
    "measured_share": _is_end,
    "interval": _is_interval,
    "randoms": _is_list_of(_is_number),
    "random_mean": _is_end,
    "random_share": _is_end,
    "random_interval": _is_interval,
    "size": _is_count,
    "distinct": _is_count,
    "p": _is_end,
    "seed": _is_count,
}
_SAID: Mapping[str, Callable[[Any], bool]] = {
    "cases": _is_words,
    "metric": lambda x: isinstance(x, str),
    "skipped": _is_table,
    "gap": _is_number,
    "task": _is_task,
    "plan": _is_table,
    "receipt": _is_receipt,
}
"""What a circuit says of itself, where it says it: a folder in which it is something else was changed."""


def _kind_of(key: str) -> str:
    """Return what a part is, as graphs call it."""
    return KINDS.get(UnitKey.parse(key).basis, "feature")


def _block_of(name: str) -> int:
    return max((int(n) for n in re.findall(r"blocks\.(\d+)\.", name)), default=-1)
