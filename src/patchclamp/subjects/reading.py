"""Read a task with one subject: prompts and answers become tokens and a metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric
from patchclamp.core.pairs import Pair
from patchclamp.core.stimulus import Picture, Shown, Stimulus
from patchclamp.core.task import Task
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.model import Model
from patchclamp.subjects.network import Network
from patchclamp.subjects.pairs import PairSet, fill, read_by
from patchclamp.subjects.plain import PlainModel, PlainNetwork
from patchclamp.subjects.plain_tasks import read_inputs, read_row
from patchclamp.subjects.vision import VisionModel


def check_metric(model: Model, shown: Shown, metric: Metric) -> None:
    """Refuse a metric that reads where the prompt or the vocabulary has nothing.

    Raises:
        PatchclampError: a position or a token out of range.
    """
    n, n_tokens = len(shown), model.n_answers
    outside = [p for p in metric.positions if not -n <= p < n]
    strange = [t for t in (*metric.target, *metric.contrast) if t >= n_tokens]
    if outside or strange:
        raise PatchclampError(
            expected=f"a metric of positions −{n} to {n - 1} and tokens 0 to {n_tokens - 1}",
            got=f"position {outside[0]}" if outside else f"token {strange[0]}",
            remedy="Count positions in the prompt's tokens, and tokens in the model's vocabulary.",
        )


@dataclass(frozen=True, eq=False)
class Question:
    """Why this answer?

    Args:
        prompt: the text, or the image's name.
        target: the answer; empty where a metric was given.
        contrast: the answer it is held against, or None.
        corrupt: a prompt of as many tokens under which the answer should be lost, or None.
        shown: the prompt's tokens, and those of the answer that come before the one that decides.
        corrupted: the same for the corrupted prompt.
        metric: the number to explain.
        answers: the token that decides, as text: the target's, then the contrast's.
        given: the beginning that target and contrast share, shown after the prompt.
        against: a given metric's contrast, as text.
        masked: the answer stands at a mask; nothing is continued.
        beginning: the answer's tokens before the one that decides, as text; they are shown after the prompt.
        text: the text whose tokens are ``shown``, prompt and beginning; None where no text has just these tokens (an
            image, a chat, half a character).
    """

    prompt: str
    target: str
    contrast: str | None
    corrupt: str | None
    shown: Shown
    corrupted: Shown | None
    metric: Metric
    answers: tuple[str, ...]
    given: str = ""
    against: tuple[str, ...] = ()
    masked: bool = False
    beginning: str = ""
    text: str | None = None

    @property
    def explained(self) -> str:
        """What m is, in words: ``logit(' Mary') − logit(' John')``."""
        if self.metric.kind == "sequence_log_probability":
            return f"log P({self.answers[0]!r})"
        if self.metric.kind in ("logit", "logit_difference") and self.target:
            return " − ".join(f"logit({answer!r})" for answer in self.answers)
        names = " − ".join("+".join(map(repr, part)) for part in (self.answers, self.against) if part)
        return f"{self.metric.kind.replace('_', ' ')}({names})"


def ask(
    model: Model,
    prompt: Any,
    target: str | int | None = None,
    *,
    contrast: str | int | None = None,
    corrupt: Any = None,
    metric: Metric | None = None,
) -> Question:
    """Turn prompt and answers into tokens and a metric.

    With a contrast: the difference of the two logits where the answers first differ. Without: the answer's logit, or
    its sequence log-probability where it has several tokens. A masked language model answers at its mask, in one token.

    Args:
        model: the subject.
        prompt: a text that ends without a space (a masked language model's shows the mask once, wherever it stands), a
            stimulus or token ids; or an image. For a chat, ``model.tokenize(text, chat=True, answered=True)``.
        target: the answer, with its leading space; of an image a class, by name or number.
        contrast: another answer.
        corrupt: another prompt of as many tokens, or another image.
        metric: any other number to explain, read at positions of the prompt; instead of target and contrast.

    Returns:
        Question: tokens and metric.

    Raises:
        PatchclampError: neither target nor metric, or both; equal answers; an answer that changes the prompt's tokens;
            a corrupted prompt of another length (where it departs is named).

    Example:
        >>> from patchclamp.opening import load
        >>> ask(load("organism:cat"), "the old cat", " sat", contrast=" ran").answers
        (' sat', ' ran')
    """
    if (target is None) == (metric is None) or (metric is not None and contrast is not None):
        raise PatchclampError(
            expected="a target (and perhaps a contrast), or a metric",
            got="both" if metric is not None else "neither",
            remedy="A metric says by itself which tokens it reads.",
        )
    if isinstance(model, PlainModel):
        return _classed(model, prompt, target, contrast, corrupt, metric)
    if isinstance(model, VisionModel):
        return _seen(model, prompt, target, contrast, corrupt, metric)
    if (
        not isinstance(model, LanguageModel)
        or not isinstance(target, str | None)
        or not isinstance(contrast, str | None)
    ):
        raise PatchclampError(
            expected="answers as text, for a language model",
            got=f"{target!r} and {contrast!r} for {model.name}",
            remedy="Give the answer in words.",
        )
    clean, other = _shown(model, prompt), None if corrupt is None else _shown(model, corrupt)
    if target is None:
        assert metric is not None
        return _measured(model, clean, other, metric)
    if not model.capabilities.generate:
        return _filled(model, clean, target, contrast, other)
    wanted = model.continuation(clean, target)
    _known(model, target, wanted)
    if contrast is None:
        before, metric, answers = _alone(model, clean, wanted)
    else:
        before, metric, answers = _against(model, clean, wanted, target, contrast)
    corrupted = None
    if other is not None:
        _aligned(model, clean, other)
        corrupted = _followed(other, before)
    beginning = "".join(map(model.tokenizer.token, before))
    given = "" if contrast is None else beginning
    words, shown = _words(model, clean, other), _followed(clean, before)
    return Question(
        words[0], target, contrast, words[1], shown, corrupted, metric, answers, given, beginning=beginning,
        text=_text(model, words[0] + beginning, shown),
    )  # fmt: skip


def _text(model: LanguageModel, words: str, shown: Stimulus) -> str | None:
    """Return the words where their tokens are those that are shown, else None."""
    found = model.stimuli(words, answered=True)
    return words if len(found) == 1 and found[0].ids.tolist() == shown.ids.tolist() else None


def _shown(model: LanguageModel, prompt: Any) -> Stimulus:
    """Return the one prompt that an answer follows, or in which it fills the mask."""
    found = model.stimuli(prompt, answered=True)
    if len(found) != 1:
        raise PatchclampError(expected="one prompt", got=f"{len(found)}", remedy="Explain them one by one.")
    return found[0]


def _words(model: LanguageModel, clean: Stimulus, other: Stimulus | None) -> tuple[str, str | None]:
    """Return both prompts as people read them."""
    read = model.tokenizer.text_of
    return read(clean), None if other is None else read(other)


def _seen(model: VisionModel, image: Any, target: Any, contrast: Any, corrupt: Any, metric: Metric | None) -> Question:
    """Return the question why an image was given a class."""
    shown, corrupted = _picture(model, image), None if corrupt is None else _picture(model, corrupt)
    if corrupted is not None and corrupted.id == shown.id:
        raise PatchclampError(
            expected="a corrupted image that differs from the image",
            got="the same pixels",
            remedy="Change what decides the class.",
        )
    names = [None if answer is None else model.answer_name(model.class_index(answer)) for answer in (target, contrast)]
    if metric is None:
        wanted, other = ((model.class_index(answer),) if answer is not None else () for answer in (target, contrast))
        metric = Metric("logit_difference" if other else "logit", wanted, other)
    check_metric(model, shown, metric)
    answers = tuple(model.answer_name(i) for i in metric.target)
    against = tuple(model.answer_name(i) for i in metric.contrast)
    known, other_name = shown.name or shown.id[:12], None if corrupted is None else corrupted.name or corrupted.id[:12]
    if target is None:
        return Question(known, "", None, other_name, shown, corrupted, metric, answers, against=against)
    return Question(known, names[0] or "", names[1], other_name, shown, corrupted, metric, (*answers, *against))


def _classed(
    model: PlainModel, shown: Any, target: Any, contrast: Any, corrupt: Any, metric: Metric | None
) -> Question:
    """Return the question why a plain network gave a class, which is a number."""
    rows = [None if one is None else model.stimuli(one) for one in (shown, corrupt)]
    if any(row is not None and len(row) != 1 for row in rows):
        raise PatchclampError(expected="one input", got="several rows", remedy="Explain them one by one.")
    if not all(isinstance(one, int | None) and not isinstance(one, bool) for one in (target, contrast)):
        raise PatchclampError(
            expected=f"answers that are class numbers of {model.name}",
            got=f"{target!r} and {contrast!r}",
            remedy="Give the output's columns, such as 2 and contrast=0.",
        )
    clean, other = (None if row is None else row[0] for row in rows)
    assert clean is not None
    if metric is None:
        metric = Metric("logit" if contrast is None else "logit_difference", (target,), tuple({contrast} - {None}))
    check_metric(model, clean, metric)
    if other is not None and other.id == clean.id:
        raise PatchclampError(
            expected="a corrupted input that differs from the input", got="the same", remedy="Change what decides."
        )
    answers, against = (tuple(map(model.answer_name, ids)) for ids in (metric.target, metric.contrast))
    names = f"input {clean.id[:12]}", None if other is None else f"input {other.id[:12]}"
    if target is None:
        return Question(names[0], "", None, names[1], clean, other, metric, answers, against=against)
    said = None if contrast is None else str(contrast)
    return Question(names[0], str(target), said, names[1], clean, other, metric, (*answers, *against))


def _picture(model: VisionModel, image: Any) -> Picture:
    found = model.stimuli(image)
    if len(found) != 1:
        raise PatchclampError(
            expected="one image", got=f"{len(found)}", remedy="Explain them one by one: name one, as in digits:17."
        )
    return found[0]


def _measured(model: LanguageModel, clean: Stimulus, other: Stimulus | None, metric: Metric) -> Question:
    """Return the question that asks for a metric of the prompt as it stands."""
    check_metric(model, clean, metric)
    if other is not None:
        _aligned(model, clean, other)
    words = _words(model, clean, other)
    answers, against = (tuple(model.tokenizer.token(i) for i in ids) for ids in (metric.target, metric.contrast))
    text = _text(model, words[0], clean)
    return Question(words[0], "", None, words[1], clean, other, metric, answers, against=against, text=text)


def _filled(
    model: LanguageModel, clean: Stimulus, target: str, contrast: str | None, other: Stimulus | None
) -> Question:
    """Return the question which word belongs at the mask: the logit there, or the difference of two."""
    mask = str(model.tokenizer.bare.mask_token)
    prompt, corrupt = _words(model, clean, other)
    at = np.flatnonzero(clean.ids == model.tokenizer.bare.mask_token_id).tolist()
    if prompt.count(mask) != 1 or len(at) != 1:
        raise PatchclampError(
            expected=f"a prompt with {mask} once, for {type(model.module).__name__} fills in masks",
            got=repr(prompt[-60:]),
            remedy=f"Write {mask} where the answer belongs.",
        )
    ids = []
    for answer in (target, *([] if contrast is None else [contrast])):
        filled = fill(model, clean, prompt, answer)
        if filled is None:
            raise PatchclampError(
                expected="an answer of one token, which leaves the others as they are",
                got=repr(answer),
                remedy="Choose a word that the vocabulary has whole.",
            )
        ids.append(filled[1])
        _known(model, answer, (ids[-1],))
    if len(set(ids)) < len(ids):
        raise PatchclampError(
            expected="a contrast that departs from the target", got=repr(contrast), remedy="Name another answer."
        )
    if other is not None:
        _aligned(model, clean, other)
    metric = Metric("logit" if contrast is None else "logit_difference", (ids[0],), tuple(ids[1:]), positions=tuple(at))
    answers = tuple(map(model.tokenizer.token, ids))
    return Question(prompt, target, contrast, corrupt, clean, other, metric, answers, masked=True, text=prompt)


def _known(model: LanguageModel, answer: str, ids: tuple[int, ...]) -> None:
    """Refuse an answer that the vocabulary does not have: what is explained would be its unknown word."""
    unknown = model.tokenizer.bare.unk_token_id
    if unknown is not None and unknown in ids:
        raise PatchclampError(
            expected="an answer made of words that the model's vocabulary has",
            got=f"{answer!r}, which it reads as {''.join(map(model.tokenizer.token, ids))!r}",
            remedy="Choose another word; `patchclamp organism card NAME` shows an organism's own.",
        )


def unknown_words(model: Model, shown: Shown) -> list[str]:
    """Return the words of a prompt that a model's vocabulary lacks, each once, in their order; none of an image.

    Example:
        >>> from patchclamp.opening import load
        >>> cat = load("organism:cat")
        >>> unknown_words(cat, cat.tokenize("the old unicorn"))
        ['unicorn']
    """
    if not isinstance(model, LanguageModel) or not isinstance(shown, Stimulus) or shown.text is None:
        return []
    unknown = model.tokenizer.bare.unk_token_id
    spans = shown.spans[shown.ids == unknown].tolist() if unknown is not None else []
    return list(dict.fromkeys(shown.text[start:stop].strip() for start, stop in spans if stop > start))


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
    model: LanguageModel, prompt: Stimulus, wanted: tuple[int, ...]
) -> tuple[tuple[int, ...], Metric, tuple[str, ...]]:
    token = model.tokenizer.token
    if len(wanted) == 1:
        return (), Metric("logit", wanted), (token(wanted[0]),)
    n = len(prompt)
    positions = tuple(range(n - 1, n - 1 + len(wanted)))
    metric = Metric("sequence_log_probability", wanted, positions=positions)
    return wanted[:-1], metric, ("".join(map(token, wanted)),)


def _against(
    model: LanguageModel, prompt: Stimulus, wanted: tuple[int, ...], target: str, contrast: str
) -> tuple[tuple[int, ...], Metric, tuple[str, ...]]:
    token = model.tokenizer.token
    other = model.continuation(prompt, contrast)
    _known(model, contrast, other)
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
    if clean.ids.tolist() == corrupted.ids.tolist():
        raise PatchclampError(
            expected="a corrupted prompt that differs from the prompt",
            got="the same tokens",
            remedy="Change the words that decide the answer.",
        )
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


def read_pairs_of(model: Network, task: Task) -> PairSet:
    """Return a task whose every case has a counterpart, answers and wrong answers, as a model reads them.

    A language model reads texts, a plain network its own inputs; see ``read_inputs``.

    Raises:
        PatchclampError: a case without one of these, or nothing that the model can be asked.
    """
    if isinstance(model, PlainNetwork):
        return read_inputs(model, task)
    if not isinstance(model, LanguageModel):
        raise PatchclampError(
            expected="a language model, or a wrapped plain network",
            got=model.name,
            remedy="Images are read one by one: attribute(subject, task).",
        )
    lacking = [case for case in task.cases if not (isinstance(case.counterpart, str) and case.answers and case.wrongs)]
    if lacking:
        raise PatchclampError(
            expected="cases with a counterpart in text, answers and wrong answers",
            got=f"{len(lacking)} without, the first {lacking[0].shown!r:.60}",
            remedy="Task.of(prompt, target, contrast=…, counterpart=…), or Task.of_pairs(pairs).",
        )
    pairs = [Pair(str(case.shown), str(case.counterpart), case.answers, case.wrongs, case.group) for case in task.cases]
    return read_by(model, pairs, kind=task.measure)


def read_alone(model: Network, task: Task) -> tuple[Any, Metric]:
    """Return what a task of one case shows, and what is read of it; a counterpart is not looked at.

    Raises:
        PatchclampError: several cases, or what ``ask`` or ``read_inputs`` refuses.
    """
    [case] = task.cases
    if isinstance(model, PlainNetwork):
        return read_row(model, task)
    if not isinstance(model, Model):
        raise PatchclampError(
            expected="a model, or what pc.wrap returned", got=model.name, remedy="Wrap the module: pc.wrap(module, …)."
        )
    answers = (*case.answers[:1], *case.wrongs[:1])
    question = ask(model, case.shown, answers[0], contrast=answers[1] if len(answers) > 1 else None)
    return question.shown, question.metric


def read_images(model: Any, task: Task) -> tuple[list[Picture], list[Metric]]:
    """Return a task's images, and what is read of each: the logit of its answer, or the difference from a wrong one.

    Raises:
        PatchclampError: a case without an answer, or whose image is none or several.
    """
    pictures, metrics = [], []
    for case in task.cases:
        if not case.answers:
            raise PatchclampError(
                expected="an answer (a class) of every image", got=f"none with {case.shown!r:.60}", remedy="Name one."
            )
        shown = model.stimuli(case.shown)
        if len(shown) != 1 or not isinstance(shown[0], Picture):
            raise PatchclampError(
                expected="one image a case", got=f"{case.shown!r:.60}", remedy="Name one, as in digits:17."
            )
        pictures += shown
        target, contrast = (tuple(model.class_index(one) for one in side) for side in (case.answers, case.wrongs))
        metrics.append(Metric("logit_difference" if contrast else "logit", target, contrast))
    return pictures, metrics
