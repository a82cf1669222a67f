"""Circuit: parts of a network in the order in which a circuit takes them, each with its score over many pairs."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import writing
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.graph import Edge, Graph, Node
from patchclamp.core.json_text import parse
from patchclamp.core.task import Task, words_of
from patchclamp.core.unit import UnitKey

FOLDER, PAGE = "circuit", "circuit.html"
OUTPUT, ROUNDING = "output", 1e-6
_READER = re.compile(r"(?P<block>blocks\.\d+)\.(?:attn\.(?P<slot>[qkv])/heads|mlp\.pre/whole)/(?P<index>\d+)")

Level = Literal["node", "edge", "neuron", "feature"]
LEVELS: tuple[Level, ...] = ("node", "edge", "neuron", "feature")
Part = str | tuple[str, str]
"""A unit's key without subject and place, or an edge: the keys of who writes and who reads."""


@checked
@dataclass(frozen=True, eq=False)
class Circuit:
    """Hold parts and their scores; the circuit of size n is the n that score highest.

    | level | parts |
    |---|---|
    | node | the embedding, every head, every MLP: ``embed/whole/0``, ``blocks.1.attn.z/heads/3``, |
    |      | ``blocks.1.mlp.write/whole/0`` |
    | edge | node to reader: a head's query, key or value ``blocks.2.attn.q/heads/0``, an MLP |
    |      | ``blocks.2.mlp.pre/whole/0``, the logits ``final/whole/0`` |
    | neuron | every MLP neuron and every head |
    | feature | the features of added bases, neurons where a site has none, heads |

    Args:
        level: what the parts are.
        method: how they were scored.
        parts: keys, or pairs of keys.
        scores: ``(part,)`` mean over pairs of the predicted m(x) − m(x with this part as in x′), summed over positions.
        subject: slug and hash of the model.
        about: ids of the pairs (``pairs``), metric, mean m of both ends, settings; what is stated beside every result.
        per_pair: ``(pair, part)`` the scores of every pair, whose mean ``scores`` are; None where they were not kept.

    Raises:
        PatchclampError: not as many scores as parts, or an unknown level.

    Example:
        >>> found = Circuit("node", "patch", ("embed/whole/0", "blocks.0.attn.z/heads/1"), np.array([1.0, 2.0]), {})
        >>> found.first(1).tolist()
        [False, True]
    """

    level: Level
    method: str
    parts: Sequence[Part]
    scores: Float[np.ndarray, " part"]
    subject: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)
    per_pair: Float[np.ndarray, "pair part"] | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS or len(self.parts) != len(self.scores):
            raise PatchclampError(
                expected=f"a level among {', '.join(LEVELS)} and one score for each part",
                got=f"{self.level!r}, {len(self.parts):,} parts, {len(self.scores):,} scores",
                remedy="`patchclamp circuit find` writes one.",
            )
        if self.per_pair is not None and self.per_pair.shape[1:] != self.scores.shape:
            raise PatchclampError(
                expected=f"scores of {len(self.parts):,} parts for every pair",
                got=f"an array of shape {self.per_pair.shape}",
                remedy="`patchclamp circuit find` writes one.",
            )

    def __len__(self) -> int:
        return len(self.parts)

    def order(self, *, signed: bool = True) -> Int[np.ndarray, " part"]:
        """Return places of ``parts`` from the highest score down; by magnitude where not ``signed``."""
        return np.argsort(-self.scores if signed else -np.abs(self.scores), kind="stable")

    def first(self, n: Natural, *, signed: bool = True) -> Bool[np.ndarray, " part"]:
        """Return which parts the circuit of size ``n`` has."""
        chosen = np.zeros(len(self), dtype=bool)
        chosen[self.order(signed=signed)[:n]] = True
        return chosen

    def names(self) -> tuple[str, ...]:
        """Return the parts as people write them: a key, or ``source → target``."""
        return tuple(part if isinstance(part, str) else " → ".join(part) for part in self.parts)

    def graph(
        self, most: int = 200, *, tokens: Sequence[str] = (), measures: Mapping[str, float] | None = None
    ) -> Graph:
        """Return the parts of largest |score| as a graph; of edges those that differ from zero by more than rounding.

        Units lead to the output each, with their scores. Edges run between units: a reader is folded into the unit that
        it belongs to, a head's query, key or value into the head with the slot told on the edge, an MLP's input into
        what the MLP writes; keys and values that several heads share are told at each of these, in equal parts. A node
        then has the sum of all edges out of it as its score, those that are not shown included.

        Args:
            most: parts at most.
            tokens: of the first pair's prompt, where parts have positions.
            measures: numbers of the whole, beside m at both ends.

        Returns:
            Graph: keys begin with the subject's slug; ``about`` holds the pairs that can be asked again.
        """
        shown = self.order(signed=False)[:most]
        if self.level == "edge":  # of most edges nothing but rounding is known
            shown = shown[np.abs(self.scores[shown]) > ROUNDING * np.abs(self.scores).max(initial=0.0)]
        slug = self.subject.get("slug")
        head = f"{slug}/" if slug else ""
        told = dict(self.about)
        ends = {"metric_clean": float(told.get("m_clean", 0.0)), "metric_baseline": float(told.get("m_corrupted", 0.0))}
        output = Node(OUTPUT, OUTPUT, ends["metric_clean"] - ends["metric_baseline"])
        if self.level == "edge":
            edges = [edge for i in shown for edge in self._folded(int(i), head)]
            out_of = self._out_of()
            named = dict.fromkeys(key for edge in edges for key in (edge.source, edge.target) if key != OUTPUT)
            nodes = [Node(key, _kind_of(key), out_of.get(key.removeprefix(head), 0.0)) for key in named]
        else:
            keys = [(head + str(self.parts[i]), float(self.scores[i])) for i in shown]
            nodes = [Node(key, _kind_of(key), score) for key, score in keys]
            edges = [Edge(key, OUTPUT, score) for key, score in keys]
        first = Task.from_json(told["task"]).cases[0].worded() if told.get("task") else None
        about = {
            "prompt": words_of(first.shown) if first else "", "target": "".join(first.targets[:1]) if first else "",
            "contrast": ("".join(first.contrasts[:1]) if first else "") or None,
            "corrupt": (words_of(first.counterpart) if first else "") or None,
            "baseline": "corrupted", "method": self.method, "level": self.level, "n_pairs": len(told.get("pairs", [])),
            "task": told.get("task"), "tokens": list(tokens), "layers": 1 + max(map(_block_of, self.names())),
            "settings": told.get("settings", {}), "bases": told.get("bases", {}),
        }  # fmt: skip
        metric = {"kind": told.get("metric", "logit_difference")}
        return Graph(self.subject, metric, (*nodes, output), tuple(edges), {**ends, **(measures or {})}, about)

    def _folded(self, i: int, head: str) -> list[Edge]:
        """Return an edge between units: several where heads share a key or value."""
        part = self.parts[i]
        source, reader = part[0], part[1]
        weight = float(self.scores[i])
        found = _READER.match(reader)
        if found is None:
            return [Edge(head + source, OUTPUT, weight)]
        block, slot, index = found["block"], found["slot"] or "", int(found["index"])
        if not slot:
            return [Edge(head + source, f"{head}{block}.mlp.write/whole/0", weight)]
        share = self._sharing(block)
        heads = [index] if slot == "q" else range(index * share, (index + 1) * share)
        return [Edge(head + source, f"{head}{block}.attn.z/heads/{h}", weight / len(heads), slot) for h in heads]

    def _sharing(self, block: str) -> int:
        """Return how many heads of a block read one key."""
        readers = self._readers
        n_heads, n_kv = (sum(r.startswith(f"{block}.attn.{slot}/") for r in readers) for slot in ("q", "k"))
        return max(1, n_heads // max(1, n_kv))

    @cached_property
    def _readers(self) -> frozenset[str]:
        return frozenset(part[1] for part in self.parts if not isinstance(part, str))

    def _out_of(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for part, score in zip(self.parts, self.scores, strict=True):
            found[part[0]] = found.get(part[0], 0.0) + float(score)
        return found

    def save(self, folder: str | Path, *, page: bytes | None = None) -> None:
        """Write the circuit to a new or empty folder, whole or not at all: a bundle, whose journal ends with ``done``.

        Args:
            folder: where.
            page: what people look at, kept beside it as ``circuit.html`` and checked as it is.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        arrays: dict[str, np.ndarray] = {
            "scores": np.asarray(self.scores, dtype=np.float64),
            "parts": np.frombuffer(json.dumps(list(self.parts)).encode(), dtype=np.uint8),
        }
        if self.per_pair is not None:
            arrays["per_pair"] = np.asarray(self.per_pair, dtype=np.float32)
        manifest = {
            "level": self.level, "method": self.method, "subject": dict(self.subject), "about": dict(self.about),
            "n_parts": len(self),
        }  # fmt: skip
        with writing(folder):  # two writers would mix their files
            bundle = Bundle.create(folder, kind=FOLDER, manifest=manifest)
            bundle.append("scores", arrays)
            if page is not None:
                bundle.attach(PAGE, page)
            bundle.finish()

    @classmethod
    def load(cls, folder: str | Path) -> "Circuit":
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no circuit there, or one of a newer version.
            Damaged: a part is missing or changed.
        """
        bundle = Bundle.open(folder, kind=FOLDER)
        try:
            if not bundle.whole:
                raise ValueError("its writing was cut off")
            if damaged := bundle.damaged():
                raise ValueError(f"{', '.join(damaged)} was changed or is missing")
            arrays = bundle.read("scores")
            told = parse(arrays["parts"].tobytes())
            parts = tuple(part if isinstance(part, str) else (str(part[0]), str(part[1])) for part in told)
            known = bundle.manifest
            per_pair, about = arrays.get("per_pair"), dict(known["about"])
            wrong = [name for name, fits in _TOLD.items() if name in about and not fits(about[name])]
            if wrong or not parts or not np.isfinite(arrays["scores"]).all():
                raise ValueError(f"{wrong[0]} in it is none" if wrong else "its scores are no numbers")
            return cls(
                known["level"], str(known["method"]), parts, np.asarray(arrays["scores"], dtype=np.float64),
                dict(known["subject"]), about,
                None if per_pair is None else np.asarray(per_pair, dtype=np.float32),
            )  # fmt: skip
        except (
            KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError, PatchclampError
        ) as problem:  # fmt: skip
            raise Damaged(
                expected="a whole circuit",
                got=f"{folder}: {problem.got if isinstance(problem, PatchclampError) else problem}",
                remedy="Restore the folder, or find the circuit again.",
            ) from problem


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and bool(np.isfinite(x))


def _is_end(x: Any) -> bool:
    return x is None or _is_number(x)


def _is_count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x < 2**63


def _is_words(x: Any) -> bool:
    return isinstance(x, list) and all(isinstance(word, str) for word in x)


def _is_task(x: Any) -> bool:
    return _is_table(x) and len(Task.from_json(x)) > 0


def _is_list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda x: isinstance(x, list) and all(map(fits, x))


def _is_interval(x: Any) -> bool:
    return isinstance(x, list) and len(x) == 2 and all(map(_is_end, x))


def _is_table(x: Any) -> bool:
    return isinstance(x, dict)


def _is_receipt(x: Any) -> bool:
    told = isinstance(x, dict) and all(name in x and fits(x[name]) for name, fits in _RECEIPT.items())
    if not told or not 0 < len(x["parts"]) == len(x["alone"]) or not _is_count(x.get("asked", 0)):
        return False
    words = [x.get(name, "") for name in ("verdict", "summary", "rule", "step")]
    if not all(isinstance(word, str) for word in words) or not _is_words(x.get("reasons", [])):
        return False
    agreement = x.get("agreement") or {}
    return _is_table(agreement) and all(map(_is_end, (*agreement.values(), x.get("random_predicted"))))


_RECEIPT: Mapping[str, Callable[[Any], bool]] = {
    "parts": _is_words, "alone": _is_list_of(_is_number), "predicted": _is_number, "measured": _is_number,
    "measured_share": _is_end, "interval": _is_interval, "randoms": _is_list_of(_is_number),
    "random_mean": _is_end, "random_share": _is_end, "random_interval": _is_interval,
    "size": _is_count, "distinct": _is_count, "p": _is_end, "seed": _is_count,
}  # fmt: skip
_TOLD: Mapping[str, Callable[[Any], bool]] = {
    "pairs": _is_words, "metric": lambda x: isinstance(x, str), "m_clean": _is_number, "m_corrupted": _is_number,
    "aside": _is_table, "settings": _is_table, "versions": _is_table, "task": _is_task,
    "plan": _is_table, "bases": lambda x: _is_table(x) and _is_words(list(x.values())), "receipt": _is_receipt,
}  # fmt: skip
"""What a circuit says of itself, where it says it: a folder in which it is something else was changed."""


def _kind_of(key: str) -> str:
    """Return what a part is, as graphs call it."""
    return {"neurons": "neuron", "heads": "head", "whole": "site"}.get(UnitKey.parse(key).basis, "feature")


def _block_of(name: str) -> int:
    return max((int(n) for n in re.findall(r"blocks\.(\d+)\.", name)), default=-1)
