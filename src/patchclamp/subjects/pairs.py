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
from patchclamp.subjects.model import Model

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
        """Yield the places of pairs that fit one batch: of one length, read at the same positions, at most so many."""
        kinds = [(len(x), metric.positions) for x, metric in zip(self.clean, self.metrics, strict=True)]
        for kind in sorted(set(kinds)):
            members = np.array([i for i, own in enumerate(kinds) if own == kind])
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

    m is read at the last position, of a masked model at its mask (at several, in the mean over them), of the answers'
    first tokens: the difference of logits (of their means, where a side has several answers), or another kind.

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
    measure_ends(model, whole)
    remedy = "Corrupted prompts need as many tokens as clean ones; answers differ, with their leading space."
    return keep_apart(whole, model.name, remedy, least)


def measure_ends(model: Model, pairs: PairSet) -> None:
    """Write m of both ends into pairs.

    Cost: two forward passes per 64 pairs of one length.
    """
    for some in pairs.of_equal_length():
        for values, shown in ((pairs.m_clean, pairs.clean), (pairs.m_corrupted, pairs.corrupted)):
            values[some] = model.measure([shown[i] for i in some], pairs.metric(some)).cpu().double().numpy()


def keep_apart(pairs: PairSet, name: str, remedy: str, least: float = LEAST_DIFFERENCE) -> PairSet:
    """Return the pairs whose two ends differ; the others are set aside.

    Args:
        pairs: with m at both ends.
        name: whose they are.
        remedy: what to do where none is left.
        least: smallest |m(x) − m(x′)|.

    Raises:
        PatchclampError: nothing is left.
    """
    apart = np.abs(pairs.m_clean - pairs.m_corrupted)
    aside = [(pairs.pairs[i], "m that is not finite") for i in np.flatnonzero(~np.isfinite(apart))]
    aside += [(pairs.pairs[i], f"|m(clean) − m(corrupted)| below {least:g}") for i in np.flatnonzero(apart < least)]
    chosen = replace(pairs.some((apart >= least) & np.isfinite(apart)), aside=(*pairs.aside, *aside))
    if not len(chosen):
        told = "; ".join(f"{n} with {reason}" for reason, n in chosen.counted_aside().items())
        raise PatchclampError(
            expected=f"at least one pair that {name} can be asked", got=told or "no pairs", remedy=remedy
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
    follows = model.capabilities.generate
    try:
        clean, corrupted = (model.tokenize(p, chat=chat, answered=follows) for p in (pair.clean, pair.corrupted))
    except PatchclampError:
        return "prompts that do not fit the model's context"
    if len(clean) != len(corrupted):
        return "prompts of unequal length"
    if not follows:
        return _read_filled(model, pair, kind, clean, corrupted)
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


def fill(model: LanguageModel, shown: Stimulus, prompt: str, answer: str) -> int | None:
    """Return which token an answer is in the place of a prompt's masks; None where it is not one and the same.

    Args:
        model: a masked language model.
        shown: the prompt's tokens, among them the mask, once or several times.
        prompt: the text.
        answer: what is put in every mask's place.
    """
    bare = model.tokenizer.bare
    at = np.flatnonzero(shown.ids == bare.mask_token_id)
    whole = model.tokenize(prompt.replace(str(bare.mask_token), answer.strip())).ids
    if not len(at) or len(whole) != len(shown) or not np.array_equal(np.flatnonzero(whole != shown.ids), at):
        return None
    tokens = set(whole[at].tolist())
    return tokens.pop() if len(tokens) == 1 else None


def _read_filled(
    model: LanguageModel, pair: Pair, kind: MetricKind, clean: Stimulus, corrupted: Stimulus
) -> tuple[Stimulus, Stimulus, Metric] | str:
    """Return the stimuli and metric of a pair whose answers stand at its masks, or why there are none."""
    mask = model.tokenizer.bare.mask_token_id
    masks = [np.flatnonzero(shown.ids == mask).tolist() for shown in (clean, corrupted)]
    if not masks[0] or masks[0] != masks[1]:
        return "prompts without masks at the same places"
    filled = [[fill(model, clean, pair.clean, answer) for answer in side] for side in (pair.answers, pair.wrongs)]
    target, contrast = (tuple(dict.fromkeys(one for one in side if one is not None)) for side in filled)
    unknown = model.tokenizer.bare.unk_token_id
    if any(one is None or one == unknown for side in filled for one in side):
        return "answers that are not one known token at the mask"
    if set(target) & set(contrast):
        return "answers that begin with the same token"
    return clean, corrupted, Metric(kind, target, contrast, tuple(masks[0]))
