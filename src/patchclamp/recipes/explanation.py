"""The explanation of one answer: its causes, with predicted and measured effects."""

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from patchclamp.core.arguments import checked
from patchclamp.core.graph import Graph, Node
from patchclamp.core.picture_heat import PictureHeat
from patchclamp.core.plain_names import name_unit
from patchclamp.core.plain_numbers import format_fixed, format_percent, is_known
from patchclamp.core.receipt import REPLACED, Verdict
from patchclamp.core.stats import Interval
from patchclamp.core.stimulus import Picture, Stimulus
from patchclamp.core.table import Table, Tabular
from patchclamp.recipes.explained_edges import ExplainedEdges
from patchclamp.recipes.receipts import Receipts, normalise
from patchclamp.subjects.cases import ReadCase
from patchclamp.subjects.picture_places import png_of

REPR = 5
"""Causes in a short representation."""
KEPT_SIDE = 128
"""Pixels of the longer side of the picture that a graph holds."""
ONE_LOGIT = (
    "m is one logit, which falls wherever all logits fall: compared with another answer, it says what decides for this "
    "one."
)
"""Of an answer without a rival."""
MOSTLY = 0.99
"""Share of random units without like ones from which on their control is said to be weak."""


@dataclass(frozen=True)
class Cause:
    """One neuron or head at one position, with what was predicted and what its replacement did.

    Args:
        key: its key.
        kind: ``neuron``, ``head``, ``channel`` or ``feature``.
        position: logical position; None for a channel, which is replaced at all places of its map.
        token: the token there, as text; of an image where it is.
        activation: its value (a head's: the norm of its z).
        baseline: the value that replaced it, read in the same way.
        predicted: score: how much of the metric it is predicted to carry.
        measured: m(clean) − m(clean with it replaced).
        promotes: tokens that its write promotes most, directly through the unembedding.
    """

    key: str
    kind: str
    position: int | None
    token: str
    activation: float
    baseline: float
    predicted: float
    measured: float
    promotes: tuple[str, ...]


@checked
@dataclass(frozen=True, eq=False)
class Explanation(Tabular):
    """An answer explained, with its receipts.

    Args:
        case: the prompt and answers, as the subject read them.
        subject: slug and hash.
        method: how nodes were scored.
        baseline: what replaces a value: ``zero``, ``corrupted`` or ``mean``.
        metric_clean: m on the clean prompt.
        metric_baseline: m where the answer's causes are gone: on the corrupted prompt, else with every node replaced.
        probability: of the target's deciding token at the place that the metric reads first; nan without a target.
        likeliest: the model's own first answers with their probabilities.
        step: distance from the largest logit to the next number of its type; 0 in single precision and above.
        tokens: every token of the prompt, and the sum of the scores at its position.
        causes: the top k by predicted effect, highest first.
        opposing: the strongest against the answer.
        predicted: Σ predicted of the causes.
        receipts: what their replacement did, and the controls.
        total: Σ predicted over every neuron and head at every position.
        gap: integrated gradients' completeness gap, or None.
        seed: of every draw.
        n_layers: blocks of the model; 0 where it is not known to have any.
        edges: among causes and opponents, from inputs and to the output.
        bases: hash of every basis whose features were scored, by site and name.
        omitted: rival that could not be chosen, to the reason.
        heat: of an image, the scores summed by place; None where units have no place on it.
    """

    case: ReadCase
    subject: dict[str, str]
    method: str
    baseline: str
    metric_clean: float
    metric_baseline: float
    probability: float
    likeliest: tuple[tuple[str, float], ...]
    step: float
    tokens: tuple[tuple[str, float], ...]
    causes: tuple[Cause, ...]
    opposing: tuple[Cause, ...]
    predicted: float
    receipts: Receipts
    total: float
    gap: float | None
    seed: int
    n_layers: int
    edges: ExplainedEdges
    bases: Mapping[str, str] = field(default_factory=dict)
    omitted: Mapping[str, str] = field(default_factory=dict)
    heat: PictureHeat | None = None

    def table(self, top: int | None = None) -> Table:
        """Return the causes as a table: unit in words, key, token, value, predicted and measured effect."""
        rows = (
            (name_unit(c.key), c.key, c.token, c.activation, c.predicted, c.measured, " ".join(c.promotes))
            for c in self.causes[:top]
        )
        columns = ("unit", "key", "token", "value", "predicted", "measured", "promotes")
        title = " ".join((self.title, self.sentence, *self.cautions))
        return Table(title, columns, tuple(rows), len(self.causes), ("unit", "measured"))

    def __repr__(self) -> str:
        """Return the verdict with its cautions, and the first causes, a line each."""
        lines = [self.title, self.sentence, *self.cautions]
        for cause in self.causes[:REPR]:
            lines.append(
                f"  {name_unit(cause.key)} at {cause.token!r}: takes {format_fixed(cause.measured)} from m alone"
            )
        if (more := len(self.causes) - REPR) > 0:
            lines.append(f"  and {more} more causes")
        return "\n".join(lines)

    @property
    def title(self) -> str:
        """What was asked, in words, with the tokens at which answers of several tokens are read."""
        q = self.case
        if not q.target:
            return f"What carries {q.explained}?"
        target, contrast = (f" (read at {token!r})" if token else "" for token in q.read_at)
        return f"Why {q.target!r}{target}" + ("?" if q.contrast is None else f" rather than {q.contrast!r}{contrast}?")

    @property
    def measured(self) -> float:
        """What m loses when all causes are replaced together: m(clean) − m(replaced)."""
        return self.receipts.together

    @property
    def verdict(self) -> Verdict:
        """What the measurement says of the causes: ``holds``, ``weak`` or ``no evidence``."""
        return self.receipts.receipt.verdict

    @property
    def sentence(self) -> str:
        """The verdict in one plain sentence."""
        return self.receipts.receipt.sentence

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a reader should know before believing it, a sentence each; empty where there is nothing."""
        q, found = self.case, []
        if q.target and self.likeliest and is_known(self.probability) and self.likeliest[0][1] > self.probability:
            likely, p = self.likeliest[0]
            named = repr(self.first_answer)
            if q.target != self.first_answer and q.answer_notes:
                named += f", the beginning of {q.target!r}"
            found.append(
                f"The model itself would rather say {likely!r} ({format_percent(p, 1)}) than {named} "
                f"({format_percent(self.probability, 1)})."
            )
        found += [f"{note}." for note in q.answer_notes]
        if q.metric.kind == "logit" and q.target:
            found.append(ONE_LOGIT)
        if not self.prefers:
            found.append("The model does not prefer this answer, so no percentage is given.")
        elif self.share(1.0) is None:
            without = (
                "on the other prompt" if self.baseline == "corrupted" else f"with every unit {REPLACED[self.baseline]}"
            )
            found.append(f"The model favours this answer as much {without}, so no percentage is given.")
        if self.step > 0:
            apart = f"numbers lie {self.step:.2g} apart here"
            found.append(f"Logits are in half precision, whose {apart}: smaller effects are rounding.")
        # A wider match is named by the rule of the sets; here nothing of like size exists at all.
        if self.receipts.randoms.step == "size" and self.receipts.randoms.outside > MOSTLY:
            found.append("No comparable units exist here, so this control is weak.")
        return tuple(found)

    @property
    def first_answer(self) -> str:
        """The token, or class, whose probability is given: the target's where the metric reads first."""
        sequence = self.case.metric.kind == "sequence_log_probability"
        n_given = len(self.case.metric.target) - 1 if sequence else 0
        return self.tokens[-n_given][0] if n_given else self.case.target_names[0]

    @property
    def prefers(self) -> bool:
        """Whether the model prefers the target to the contrast; true where there is none."""
        return not self.case.metric.kind.endswith("_difference") or self.metric_clean > 0

    def share(self, effect: float) -> float | None:
        """Return an effect as a share of m(clean) − m(baseline); None where that is below 0.1, or m is not above 0.

        Of an answer that the model does not prefer there is no share.
        """
        return normalise(effect, self.metric_clean, self.metric_baseline) if self.prefers else None

    def graph(self) -> Graph:
        """Return the explanation as a Graph: its causes and opponents, inputs and errors, and the edges among them.

        ``overlap`` is by how much all scores exceed m(clean) − m(baseline): units in series carry the same effect.
        """
        q, r = self.case, self.receipts
        nodes = [
            Node(
                c.key, c.kind, c.predicted, {"activation": c.activation, "baseline": c.baseline, "measured": c.measured}
            )
            for c in (*self.causes, *self.opposing)
        ]
        output = Node("output", "output", self.metric_clean)
        measures = {
            "metric_clean": self.metric_clean,
            "metric_baseline": self.metric_baseline,
            "predicted": self.predicted,
            "measured": self.measured,
            "total": self.total,
            "overlap": self.total - (self.metric_clean - self.metric_baseline),
            "control_mean": r.randoms.mean,
            "p": r.receipt.p,
        }
        if (interval := r.randoms.interval) is not None:
            measures |= {"control_low": interval.low, "control_high": interval.high}
        if self.gap is not None:
            measures["completeness_gap"] = self.gap
        about = {
            "prompt": q.prompt,
            "target": q.target,
            "contrast": q.contrast,
            "corrupt": q.corrupt,
            "method": self.method,
            "baseline": self.baseline,
            "seed": self.seed,
            "tokens": [text for text, _ in self.tokens],
            "layers": self.n_layers,
            **({"beginning": q.beginning, "text": q.text} if isinstance(q.clean, Stimulus) else {}),
            **({"bases": dict(self.bases)} if self.bases else {}),
            "grade": self.verdict,
            "sentence": self.sentence,
            "cautions": list(self.cautions),
            "quantity": q.quantity,
            "read": list(q.read_at),
            "edges": dict(self.edges.about),
            **({} if self.heat is None else {"picture": {**self.heat.summary(), "png": _text_of(self.heat)}}),
        }
        nodes += self.edges.ends
        return Graph(self.subject, q.metric.to_json(), (*nodes, output), self.edges.edges, measures, about)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON-ready data: the one document that tables and report are made of.

        ``normalise`` holds shares of m(clean) − m(baseline), or null where that is below 0.1.
        """
        q, r = self.case, self.receipts
        receipt = r.receipt.to_json()
        interval = r.randoms.interval or Interval(math.nan, math.nan, 0.95, "percentile bootstrap")
        receipts = {
            **{name: receipt[name] for name in ("verdict", "reasons", "sentence")},
            "together": r.together,
            "singly": r.singly,
            "randoms": {
                **receipt["controls"],
                "mean": r.randoms.mean,
                "interval": asdict(interval),
                "p": receipt["p"],
            },
            "rivals": [asdict(rival) for rival in r.rivals],
            "agreement": asdict(r.agreement),
            "kept": asdict(r.kept),
        }
        own = (
            "subject",
            "method",
            "baseline",
            "metric_clean",
            "metric_baseline",
            "probability",
            "likeliest",
            "step",
            "total",
            "gap",
            "seed",
        )
        return _finite(
            {
                "question": {
                    "prompt": q.prompt,
                    "given": q.given,
                    "target": q.target,
                    "contrast": q.contrast,
                    "corrupt": q.corrupt,
                    "beginning": q.beginning,
                    "text": q.text,
                    "answers": (*q.target_names, *(q.contrast_names if q.target else ())),
                    "metric": q.metric.to_json(),
                    "explained": q.explained,
                    "quantity": q.quantity,
                    "unit": q.metric.unit,
                    "read": q.read_at,
                    **({"answer_notes": q.answer_notes} if q.answer_notes else {}),
                    **({"image": True} if isinstance(q.clean, Picture) else {}),
                },
                **{name: getattr(self, name) for name in own},
                "tokens": [{"position": i, "text": t, "predicted": s} for i, (t, s) in enumerate(self.tokens)],
                "causes": [asdict(c) for c in self.causes],
                "opposing": [asdict(c) for c in self.opposing],
                "cautions": self.cautions,
                "edges": [asdict(edge) for edge in self.edges.edges],
                "about_edges": self.edges.about,
                "predicted": self.predicted,
                "measured": self.measured,
                "bases": self.bases,
                "omitted": self.omitted,
                "normalised": {"predicted": self.share(self.predicted), "measured": self.share(self.measured)},
                "receipts": receipts,
                **({"heat": self.heat.to_json()} if self.heat is not None else {}),
            }
        )


def _text_of(heat: PictureHeat) -> str:
    """Return a picture as a PNG file in base 64."""
    return base64.b64encode(png_of(heat.pixels, KEPT_SIDE)).decode("ascii")


def _finite(data: Any) -> Any:
    """Return data with lists for tuples, and None for numbers that are not finite, which JSON has not."""
    if isinstance(data, Mapping):
        return {str(k): _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    return None if isinstance(data, float) and not np.isfinite(data) else data
