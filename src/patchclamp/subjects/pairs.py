"""Pairs in a model's tokens: what can be compared position by position, and what had to be set aside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import EachMetric, Metric, MetricKind
from patchclamp.core.pairs import Pair
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.language import LanguageModel

LEAST_DIFFERENCE = 0.1
"""|m(clean) − m(corrupted)| below which a pair asks nothing, and effects divided by it are noise."""
ROWS = 64


@dataclass(frozen=True, eq=False)
class PairSet:
    """Hold pairs as one model reads them: stimuli of equal length, a metric each, and its value at both ends.

    Args:
        pairs: those that are used.
        clean: their prompts x.
        corrupted: their counterparts x′, of as many tokens each.
        metrics: m of each pair.
        m_clean: ``(pair,)`` m(x).
        m_corrupted: ``(pair,)`` m(x′).
        aside: those that are not used, each with the reason; reasons are few, so that they can be counted.
    """

    pairs: tuple[Pair, ...]
    clean: tuple[Stimulus, ...]
    corrupted: tuple[Stimulus, ...]
    metrics: tuple[Metric, ...]
    m_clean: Float[np.ndarray, " pair"]
    m_corrupted: Float[np.ndarray, " pair"]
    aside: tuple[tuple[Pair, str], ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def of_equal_length(self, most: int = ROWS) -> Iterator[Int[np.ndarray, " some"]]:
        """Yield the places of pairs that fit one batch: of one length, at most so many."""
        lengths = np.array([len(x) for x in self.clean])
        for length in np.unique(lengths):
            members = np.flatnonzero(lengths == length)
            yield from (members[k : k + most] for k in range(0, len(members), most))

    def some(self, chosen: Bool[np.ndarray, " pair"]) -> "PairSet":
        """Return some of the pairs; what was set aside stays on record."""
        at = np.flatnonzero(chosen)
        return PairSet(
            tuple(self.pairs[i] for i in at), tuple(self.clean[i] for i in at), tuple(self.corrupted[i] for i in at),
            tuple(self.metrics[i] for i in at), self.m_clean[at], self.m_corrupted[at], self.aside,
        )  # fmt: skip

    def exchange(self) -> "PairSet":
        """Return the same pairs with clean and corrupted prompts exchanged; answers and metrics stay as they are."""
        return replace(
            self, clean=self.corrupted, corrupted=self.clean, m_clean=self.m_corrupted, m_corrupted=self.m_clean
        )

    def metric(self, some: Sequence[int] | Int[np.ndarray, " some"]) -> EachMetric:
        """Return the metrics of some pairs as one, a row each."""
        return EachMetric(tuple(self.metrics[int(i)] for i in some))

    @property
    def turned(self) -> int:
        """How many pairs have a lower m on the clean prompt than on the corrupted one."""
        return int((self.m_clean < self.m_corrupted).sum())

    def counted_aside(self) -> dict[str, int]:
        """Return how many pairs were set aside, by reason."""
        reasons = [reason for _, reason in self.aside]
        return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def read_by(
    model: LanguageModel,
    pairs: Sequence[Pair],
    *,
    kind: MetricKind = "logit_difference",
    least: float = LEAST_DIFFERENCE,
    chat: bool = False,
) -> PairSet:
    """Turn pairs into a model's tokens and measure both ends; set aside what cannot be compared.

    m is read at the last position, of the answers' first tokens: the difference of logits (of their means, where a side
    has several answers), or another kind.

    Args:
        model: who reads.
        pairs: what.
        kind: ``logit_difference`` or ``probability_difference``.
        least: smallest |m(x) − m(x′)|.
        chat: wrap every prompt in the model's chat template as a user's message, up to where an answer follows.

    Returns:
        PairSet: what is left, and what was set aside: prompts of unequal length, answers that begin alike or change the
        prompt's tokens, pairs whose two ends hardly differ.

    Raises:
        PatchclampError: nothing is left.

    Cost: two forward passes per 64 pairs of one length.

    Example:
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> found = read_by(cat, [Pair("the old cat", "the old dog", (" sat",), (" ran",))])
        >>> found.m_clean.round(1).tolist(), found.m_corrupted.round(1).tolist()
        ([4.0], [-4.0])
    """
    _ = model.tokenizer  # a model without one is told as such
    read: list[tuple[Pair, Stimulus, Stimulus, Metric]] = []
    aside: list[tuple[Pair, str]] = []
    for pair in pairs:
        found = _read(model, pair, kind, chat)
        if isinstance(found, str):
            aside.append((pair, found))
        else:
            read.append((pair, *found))
    whole = _set_of(read, np.zeros((2, len(read))), aside)
    for some in whole.of_equal_length():
        for values, prompts in ((whole.m_clean, whole.clean), (whole.m_corrupted, whole.corrupted)):
            values[some] = model.measure([prompts[i] for i in some], whole.metric(some)).cpu().double().numpy()
    apart = np.abs(whole.m_clean - whole.m_corrupted)
    far = (apart >= least) & np.isfinite(apart)
    aside += [(whole.pairs[i], "m that is not finite") for i in np.flatnonzero(~np.isfinite(apart))]
    aside += [(whole.pairs[i], f"|m(clean) − m(corrupted)| below {least:g}") for i in np.flatnonzero(apart < least)]
    kept = [read[i] for i in np.flatnonzero(far)]
    chosen = _set_of(kept, np.stack([whole.m_clean[far], whole.m_corrupted[far]]), aside)
    if not kept:
        told = "; ".join(f"{n} with {reason}" for reason, n in chosen.counted_aside().items())
        raise PatchclampError(
            expected=f"at least one pair that {model.name} can be asked",
            got=told or "no pairs",
            remedy="Corrupted prompts need as many tokens as clean ones; answers differ, with their leading space.",
        )
    return chosen


def _set_of(
    read: Sequence[tuple[Pair, Stimulus, Stimulus, Metric]],
    ends: Float[np.ndarray, "2 pair"],
    aside: Sequence[tuple[Pair, str]],
) -> PairSet:
    return PairSet(
        tuple(row[0] for row in read), tuple(row[1] for row in read), tuple(row[2] for row in read),
        tuple(row[3] for row in read), ends[0], ends[1], tuple(aside),
    )  # fmt: skip


def _read(model: LanguageModel, pair: Pair, kind: MetricKind, chat: bool) -> tuple[Stimulus, Stimulus, Metric] | str:
    """Return a pair's stimuli and metric, or why there are none."""
    try:
        clean, corrupted = (model.tokenize(p, chat=chat, answered=True) for p in (pair.clean, pair.corrupted))
    except PatchclampError:
        return "prompts that do not fit the model's context"
    if len(clean) != len(corrupted):
        return "prompts of unequal length"
    try:
        target, contrast = (
            tuple(dict.fromkeys(model.continuation(prompt, answer)[0] for answer in answers))
            for prompt, answers in ((clean, pair.answers), (clean, pair.wrongs))
        )
    except PatchclampError:
        return "answers that change the prompt's tokens"
    if set(target) & set(contrast):
        return "answers that begin with the same token"
    return clean, corrupted, Metric(kind, target, contrast)
