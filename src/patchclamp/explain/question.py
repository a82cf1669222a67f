"""Question: a prompt, an answer and what it is held against, turned into a metric."""

from dataclasses import dataclass

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.language import LanguageModel


@dataclass(frozen=True, eq=False)
class Question:
    """Why this answer?

    Args:
        prompt: the text.
        target: the answer.
        contrast: the answer it is held against, or None.
        corrupt: a prompt of as many tokens under which the answer should be lost, or None.
        shown: the prompt's tokens, and those of the answer that come before the one that decides.
        corrupted: the same for the corrupted prompt.
        metric: the number to explain.
        answers: the token that decides, as text: the target's, then the contrast's.
        given: the beginning that target and contrast share, shown after the prompt.
    """

    prompt: str
    target: str
    contrast: str | None
    corrupt: str | None
    shown: Stimulus
    corrupted: Stimulus | None
    metric: Metric
    answers: tuple[str, ...]
    given: str = ""


def ask(
    model: LanguageModel, prompt: str, target: str, *, contrast: str | None = None, corrupt: str | None = None
) -> Question:
    """Turn prompt and answers into tokens and a metric.

    With a contrast: the difference of the two logits where the answers first differ. Without: the answer's logit, or
    its sequence log-probability where it has several tokens.

    Args:
        model: the subject.
        prompt: ends without a space.
        target: the answer, with its leading space.
        contrast: another answer.
        corrupt: another prompt of as many tokens.

    Returns:
        Question: tokens and metric.

    Raises:
        PatchclampError: equal answers, an answer that changes the prompt's tokens, or a corrupted prompt of another
            length (where it departs is named).

    Example:
        >>> from patchclamp.opening import load
        >>> ask(load("organism:cat"), "the old cat", " sat", contrast=" ran").answers
        (' sat', ' ran')
    """
    wanted = model.continuation(prompt, target)
    if contrast is None:
        before, metric, answers = _alone(model, prompt, wanted)
    else:
        before, metric, answers = _against(model, prompt, wanted, target, contrast)
    clean, corrupted = model.tokenize(prompt), None
    if corrupt is not None:
        other = model.tokenize(corrupt)
        _aligned(model, clean, other)
        corrupted = _followed(other, before)
    given = "" if contrast is None else "".join(map(model.tokenizer.token, before))
    return Question(prompt, target, contrast, corrupt, _followed(clean, before), corrupted, metric, answers, given)


def _followed(prompt: Stimulus, ids: tuple[int, ...]) -> Stimulus:
    """Return a prompt's tokens and an answer's first ones; as ids, for half a character has no text."""
    more = Stimulus.of(np.array(ids, dtype=np.int64))
    return Stimulus(
        np.concatenate([prompt.ids, more.ids]),
        np.concatenate([prompt.roles, more.roles]),
        np.concatenate([prompt.spans, more.spans]),
        prompt.text,
    )


def _alone(
    model: LanguageModel, prompt: str, wanted: tuple[int, ...]
) -> tuple[tuple[int, ...], Metric, tuple[str, ...]]:
    token = model.tokenizer.token
    if len(wanted) == 1:
        return (), Metric("logit", wanted), (token(wanted[0]),)
    n = len(model.tokenize(prompt))
    positions = tuple(range(n - 1, n - 1 + len(wanted)))
    metric = Metric("sequence_log_probability", wanted, positions=positions)
    return wanted[:-1], metric, ("".join(map(token, wanted)),)


def _against(
    model: LanguageModel, prompt: str, wanted: tuple[int, ...], target: str, contrast: str
) -> tuple[tuple[int, ...], Metric, tuple[str, ...]]:
    token = model.tokenizer.token
    other = model.continuation(prompt, contrast)
    shared = next((i for i, (a, b) in enumerate(zip(wanted, other, strict=False)) if a != b), None)
    if shared is None:
        raise PatchclampError(
            expected="a contrast that departs from the target",
            got=f"{contrast!r} and {target!r}",
            remedy="Name another answer of the same kind; neither may be the beginning of the other.",
        )
    pair = (wanted[shared], other[shared])
    return wanted[:shared], Metric("logit_difference", pair[:1], pair[1:]), (token(pair[0]), token(pair[1]))


def _aligned(model: LanguageModel, clean: Stimulus, corrupted: Stimulus) -> None:
    if len(clean) == len(corrupted):
        return
    token = model.tokenizer.token
    departs = next(
        (i for i, (a, b) in enumerate(zip(clean.ids, corrupted.ids, strict=False)) if a != b),
        min(len(clean), len(corrupted)),
    )
    one, other = ("".join(token(int(i)) for i in s.ids[departs : departs + 6]) for s in (clean, corrupted))
    raise PatchclampError(
        expected=f"a corrupted prompt of {len(clean)} tokens, as the prompt has",
        got=f"{len(corrupted)} tokens; they depart at position {departs}: {one!r} against {other!r}",
        remedy="Replace words by others of as many tokens, so that every position has its counterpart.",
    )
