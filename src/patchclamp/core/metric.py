"""One number read from a subject's logits, the quantity that explanations explain."""

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args

from patchclamp.core.arguments import checked
from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError

MetricKind = Literal[
    "logit", "logit_difference", "log_probability", "probability_difference", "sequence_log_probability", "kl"
]
_NEEDS_CONTRAST = ("logit_difference", "probability_difference")


@checked
@dataclass(frozen=True)
class Metric:
    r"""Describe a number m read from logits z at stated positions.

    | kind | m |
    |---|---|
    | logit | mean over targets t of z_t |
    | logit_difference | mean_t z_t − mean_c z_c |
    | log_probability | log Σ_t softmax(z)_t |
    | probability_difference | Σ_t softmax(z)_t − Σ_c softmax(z)_c |
    | sequence_log_probability | Σ_i log softmax(z at positions[i])_{target[i]} (teacher-forced) |
    | kl | Σ_v p_v (log p_v − log softmax(z)_v), p = softmax(reference) |

    Args:
        kind: one of the table.
        target: token ids t; for a sequence, the answer's ids in order.
        contrast: token ids c.
        positions: logical positions whose logits are read; negative ones count from the stimulus' end. A sequence
            has one per target id; of every other kind m is the mean over its positions.
        reference: logits that ``kl`` compares with, as a tuple.

    Raises:
        PatchclampError: targets or contrasts are missing, equal or there twice, or positions do not fit the kind.

    Example:
        >>> import numpy as np
        >>> float(Metric("logit_difference", (2,), (0,))(np.array([[[1.0, 0.0, 4.0]]]))[0])
        3.0
    """

    kind: MetricKind
    target: tuple[int, ...] = ()
    contrast: tuple[int, ...] = ()
    positions: tuple[int, ...] = (-1,)
    reference: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        one_of(
            "kind",
            self.kind,
            get_args(MetricKind),
            remedy="A function of your own can be differentiated on a wrapped network: pc.wrap(module, example).",
        )
        sequence = self.kind == "sequence_log_probability"
        if self.kind == "kl":
            whole = self.reference is not None
        else:
            whole = bool(self.target) and bool(self.contrast) == (self.kind in _NEEDS_CONTRAST)
        unfit = len(self.positions) != len(self.target) if sequence else not self.positions
        if not whole or unfit:
            positions = "a position for every target" if sequence else "at least one position"
            raise PatchclampError(
                expected=f"for {self.kind}: targets, contrasts where it takes them, and {positions}",
                got=f"target {self.target}, contrast {self.contrast}, positions {self.positions}",
                remedy="See the table in Metric's documentation.",
            )
        numbers = (*self.target, *self.contrast, *self.positions)
        if not all(isinstance(n, int) for n in numbers) or min((*self.target, *self.contrast), default=0) < 0:
            raise PatchclampError(
                expected="token ids from 0 and whole positions",
                got=f"target {self.target}, contrast {self.contrast}, positions {self.positions}",
                remedy="`model.continuation(prompt, answer)` gives the ids of an answer.",
            )
        if self.reference is not None and not all(map(math.isfinite, self.reference)):
            raise PatchclampError(
                expected="finite logits as reference", got="some that are not", remedy="Take them in float32."
            )
        twice = [n for side in (self.target, self.contrast) for n in side if side.count(n) > 1]
        if twice and not sequence:
            raise PatchclampError(
                expected="each token once", got=f"{twice[0]} twice", remedy="Leave it out once: it would count double."
            )
        if self.contrast and set(self.contrast) == set(self.target):
            raise PatchclampError(
                expected="a contrast other than the target",
                got=f"tokens {self.target} for both",
                remedy="Name the answer that the model should not give.",
            )

    @property
    def unit(self) -> str:
        """What m is measured in; empty where it is a probability."""
        return {"probability_difference": "", "logit": "logits", "logit_difference": "logits"}.get(self.kind, "nats")

    def __call__(self, logits: Any) -> Any:
        """Evaluate on ``(batch, read position, token)`` logits, NumPy or PyTorch; returns ``(batch,)``.

        The read positions are those of ``positions``, in order. Gradients flow through.

        Raises:
            PatchclampError: another shape, or ids that the logits do not have.
        """
        self._check(logits)
        xp = sys.modules[type(logits).__module__.split(".")[0]]
        if self.kind == "sequence_log_probability":
            steps = _log_softmax(xp, logits)
            return sum(steps[:, i, t] for i, t in enumerate(self.target))
        each = [self._at(xp, logits[:, i]) for i in range(len(self.positions))]
        return each[0] if len(each) == 1 else sum(each) / len(each)

    def _at(self, xp: Any, z: Any) -> Any:
        """Return m of ``(batch, token)`` logits at one position."""
        if self.kind == "logit":
            return z[:, list(self.target)].mean(-1)
        if self.kind == "logit_difference":
            return z[:, list(self.target)].mean(-1) - z[:, list(self.contrast)].mean(-1)
        log_p = _log_softmax(xp, z)
        if self.kind == "log_probability":
            return _log_sum(xp, log_p[:, list(self.target)])
        if self.kind == "probability_difference":
            p = xp.exp(log_p)
            return p[:, list(self.target)].sum(-1) - p[:, list(self.contrast)].sum(-1)
        if self.reference is None or len(self.reference) != z.shape[-1]:
            raise PatchclampError(
                expected=f"a reference of {z.shape[-1]} logits, as many as there are tokens",
                got=str(len(self.reference or ())),
                remedy="Take the logits of the run to compare with, at one position.",
            )
        reference = xp.zeros_like(z[:1])
        reference[0] = xp.asarray(self.reference, dtype=z.dtype)  # on the logits' own device
        log_q = _log_softmax(xp, reference)
        return (xp.exp(log_q) * (log_q - log_p)).sum(-1)

    def _check(self, logits: Any) -> None:
        shape = tuple(getattr(logits, "shape", ()))
        if len(shape) != 3 or shape[1] < len(self.positions):
            raise PatchclampError(
                expected=f"logits of shape (batch, read position, token), {len(self.positions)} of them read",
                got=f"{type(logits).__name__} of shape {shape}",
                remedy="Pick the positions first: metric(y[:, list(metric.positions)]); for (batch, class): "
                "metric(y[:, None]).",
            )
        strange = [i for i in (*self.target, *self.contrast) if i >= shape[-1]]
        if strange:
            raise PatchclampError(
                expected=f"ids from 0 to {shape[-1] - 1}, as the logits have",
                got=f"{strange[0]}",
                remedy="Give the ids that the model answers with; a tokenizer may have more.",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the metric as JSON-ready data."""
        data: dict[str, Any] = {"kind": self.kind, "target": list(self.target), "positions": list(self.positions)}
        if self.contrast:
            data["contrast"] = list(self.contrast)
        if self.reference is not None:
            data["reference"] = list(self.reference)
        return data


@checked
@dataclass(frozen=True)
class EachMetric:
    """Read another metric of every row of a batch: prompts with answers of their own go through one pass.

    Args:
        metrics: one per row, all read at the same positions.

    Raises:
        PatchclampError: none, or positions that differ.

    Example:
        >>> import numpy as np
        >>> both = EachMetric((Metric("logit", (2,)), Metric("logit", (0,))))
        >>> both(np.array([[[1.0, 0.0, 4.0]], [[5.0, 0.0, 0.0]]])).tolist()
        [4.0, 5.0]
    """

    metrics: tuple[Metric, ...]

    def __post_init__(self) -> None:
        if len({metric.positions for metric in self.metrics}) != 1:
            raise PatchclampError(
                expected="metrics that are read at the same positions",
                got=f"{len(self.metrics)} at {len({m.positions for m in self.metrics})} sets of positions",
                remedy="Read those of one set of positions together.",
            )

    @property
    def positions(self) -> tuple[int, ...]:
        """Logical positions whose logits are read."""
        return self.metrics[0].positions

    def __call__(self, logits: Any) -> Any:
        """Evaluate on ``(batch, read position, token)`` logits, a metric per row; returns ``(batch,)``."""
        if len(logits) != len(self.metrics):
            raise PatchclampError(
                expected=f"{len(self.metrics)} rows of logits", got=str(len(logits)), remedy="Give a metric per row."
            )
        xp = sys.modules[type(logits).__module__.split(".")[0]]
        return xp.stack([metric(logits[i : i + 1])[0] for i, metric in enumerate(self.metrics)])


def _log_sum(xp: Any, x: Any) -> Any:
    top = xp.amax(x, -1)
    return top + xp.log(xp.exp(x - top[..., None]).sum(-1))


def name_metric(kind: str, target: str, contrast: str = "the contrast") -> str:
    """Return what a metric reads, in words.

    Args:
        kind: its kind.
        target: its targets, in words.
        contrast: its contrasts, in words.

    Returns:
        str: the words; m itself for a kind that has none.

    Example:
        >>> name_metric("logit_difference", "' Mary'", "' John'"), name_metric("logit", "' Mary'")
        ("the lead of ' Mary' over ' John'", "the logit of ' Mary'")
    """
    named = {
        "logit": f"the logit of {target}",
        "logit_difference": f"the lead of {target} over {contrast}",
        "log_probability": f"the log-probability of {target}",
        "sequence_log_probability": f"the log-probability of {target}",
        "probability_difference": f"the lead in probability of {target} over {contrast}",
        "kl": "the KL divergence of the next token",
    }
    return named.get(kind, "m")


def _log_softmax(xp: Any, x: Any) -> Any:
    return x - _log_sum(xp, x)[..., None]
