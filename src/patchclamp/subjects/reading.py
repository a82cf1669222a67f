"""Read one case with a language model or an image model: prompts and answers become tokens and a metric."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from patchclamp.core.errors import PatchclampError
from patchclamp.core.metric import Metric, MetricKind
from patchclamp.core.stimulus import Picture, Stimulus
from patchclamp.core.subject import Capabilities
from patchclamp.subjects.cases import CannotRead, ReadCase, check_metric, settle_measure
from patchclamp.subjects.text import Tokenizer

ALIKE = "answers that begin with the same token"


@runtime_checkable
class ReadsPrompts(Protocol):
    """What reading needs of a language model."""

    name: str
    module: Any

    @property
    def n_answers(self) -> int:
        """Number of tokens."""

    @property
    def capabilities(self) -> Capabilities:
        """Whether it continues text."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; raises where it has none."""

    def tokenize(self, text: str, *, chat: bool = False, answered: bool = False) -> Stimulus:
        """Turn text into a stimulus.

        Returns:
            Stimulus: as the model is shown it.
        """

    def stimuli(self, shown: Any, *, answered: bool = False) -> list[Stimulus]:
        """Turn text, ids or stimuli into stimuli."""

    def continuation(self, prompt: str | Stimulus, answer: str) -> tuple[int, ...]:
        """Return the ids that an answer adds after a prompt."""


@runtime_checkable
class ReadsImages(Protocol):
    """What reading needs of a model of images."""

    @property
    def n_answers(self) -> int:
        """Number of classes."""

    def stimuli(self, shown: Any) -> list[Picture]:
        """Turn paths, arrays or pictures into pictures."""

    def class_index(self, name: str | int) -> int:
        """Return the class that a name or a number means."""

    def answer_name(self, index: int) -> str:
        """Return a class's name."""


def read_prompt(
    model: Any,
    shown: Any,
    targets: Sequence[str | int],
    contrasts: Sequence[str | int],
    *,
    counterpart: Any = None,
    measure: MetricKind | None = None,
    metric: Metric | None = None,
    chat: bool = False,
) -> ReadCase:
    """Turn a prompt and its answers into tokens and a metric; see ``Model.read_case``.

    Of one target and one contrast m is read where they first differ, after the beginning that they share. A target
    alone of several tokens is read as its sequence log-probability. Of several targets or contrasts the first tokens
    are read. A masked language model answers at its mask, in one token. The model is ``ReadsPrompts``; one without a
    tokenizer is refused in here.

    Returns:
        ReadCase: tokens, counterpart and metric.

    Raises:
        CannotRead: prompts that do not fit the context, or of unequal length; answers that change the prompt's tokens,
            that the vocabulary lacks, or that cannot be distinguished.
        PatchclampError: several prompts, or answers that are no text.

    Example:
        >>> from patchclamp.loaders import load
        >>> read_prompt(load("organism:cat"), "the old cat", [" sat"], [" ran"]).explained
        "logit(' sat') − logit(' ran')"
    """
    _ = model.tokenizer  # a model without one says so
    if not all(isinstance(answer, str) for answer in (*targets, *contrasts)):
        raise PatchclampError(
            expected="answers as text, for a language model",
            got=f"{list(targets)!r:.60} and {list(contrasts)!r:.60} for {model.name}",
            remedy="Give the answer in words.",
        )
    if shown is None:
        raise PatchclampError(expected="a prompt", got="None", remedy="Give the text that is answered.")
    clean, other = _prompt(model, shown, chat), None if counterpart is None else _prompt(model, counterpart, chat)
    if other is not None:
        _check_aligned(model, clean, other)
    words = [None if one is None else model.tokenizer.text_of(one) for one in (clean, other)]
    given = shown if isinstance(shown, str) and not chat else None
    token = model.tokenizer.token
    if metric is not None:
        check_metric(model, clean, metric)
        case = ReadCase(clean, other, metric, contrast_names=tuple(map(token, metric.contrast)))
        return _in_words(model, replace(case, target_names=tuple(map(token, metric.target))), words, given)
    kind, against = settle_measure(measure, targets, contrasts)
    wanted, unwanted = ([str(answer) for answer in side] for side in (targets, against))
    find = _at_mask if not model.capabilities.generate else _read_continuation
    before, metric, names = find(model, clean, other, kind, wanted, unwanted)
    notes = () if find is _at_mask else _note_tokens(model, clean, metric, len(before), (*wanted, *unwanted))
    case = ReadCase(
        _tokens_with_answer(clean, before),
        None if other is None else _tokens_with_answer(other, before),
        metric,
        target=" | ".join(wanted),
        contrast=" | ".join(unwanted) or None,
        target_names=names[0],
        contrast_names=names[1],
        beginning="".join(map(token, before)),
        masked=not model.capabilities.generate,
        answer_notes=notes,
    )
    return _in_words(model, case, words, given)


def _prompt(model: ReadsPrompts, shown: Any, chat: bool) -> Stimulus:
    """Return the one prompt that an answer follows, or in which it fills the mask."""
    try:
        prompt_stimulus = (
            [model.tokenize(shown, chat=True, answered=True)]
            if chat
            else model.stimuli(list(shown) if isinstance(shown, tuple) else shown, answered=True)
        )
    except PatchclampError as problem:
        raise CannotRead.of(problem, "prompts that do not fit the model's context") from problem
    if len(prompt_stimulus) != 1:
        raise PatchclampError(expected="one prompt", got=f"{len(prompt_stimulus)}", remedy="Explain them one by one.")
    return prompt_stimulus[0]


def _in_words(model: ReadsPrompts, case: ReadCase, words: Sequence[str | None], shown: Any) -> ReadCase:
    """Return the case with its prompts in words, and its text where that has just these tokens."""
    prompt = str(words[0])
    whole = prompt + case.beginning
    same = shown == whole  # a text as it was given; anything else is tokenized again
    if not same:
        try:
            stimuli = model.stimuli(whole, answered=True)
        except PatchclampError:  # the decoded text of ids may be longer than they are
            stimuli = []
        same = len(stimuli) == 1 and stimuli[0].id == case.clean.id
    return replace(case, prompt=prompt, corrupt=words[1], text=whole if same else None)


Found = tuple[tuple[int, ...], Metric, tuple[tuple[str, ...], tuple[str, ...]]]
"""Tokens that are shown after the prompt, the metric, and the names of what it reads on both sides."""


def _read_continuation(
    model: ReadsPrompts,
    clean: Stimulus,
    other: Stimulus | None,
    kind: MetricKind,
    targets: Sequence[str],
    contrasts: Sequence[str],
) -> Found:
    """Return what is read of answers that follow a prompt."""
    try:
        sides = [[model.continuation(clean, answer) for answer in side] for side in (targets, contrasts)]
    except PatchclampError as problem:
        raise CannotRead.of(problem, "answers that change the prompt's tokens") from problem
    for answers, found in zip((targets, contrasts), sides, strict=True):
        for answer, ids in zip(answers, found, strict=True):
            _check_known(model, answer, ids)
    token = model.tokenizer.token
    before: tuple[int, ...] = ()
    if len(targets) == 1 and not contrasts and (len(sides[0][0]) > 1 or kind == "sequence_log_probability"):
        [ids], n = sides[0], len(clean)
        metric = Metric("sequence_log_probability", ids, positions=tuple(range(n - 1, n - 1 + len(ids))))
        return ids[:-1], metric, (("".join(map(token, ids)),), ())
    read: list[tuple[int, ...]] = []
    if len(targets) == len(contrasts) == 1:
        one, two = sides[0][0], sides[1][0]
        differs = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
        if differs is None:
            raise CannotRead(
                expected="a contrast that departs from the target",
                got=f"{contrasts[0]!r} and {targets[0]!r}",
                remedy="Name another answer of the same kind; neither may be the beginning of the other.",
                reason="a target that begins the contrast, or is begun by it",
            )
        before, read = one[:differs], [(one[differs],), (two[differs],)]
    else:
        read = [tuple(dict.fromkeys(ids[0] for ids in side)) for side in sides]
        _check_apart(model, *read)
    names = (tuple(map(token, read[0])), tuple(map(token, read[1])))
    return before, Metric(kind, read[0], read[1]), names


def _note_tokens(
    model: ReadsPrompts, clean: Stimulus, metric: Metric, n_before: int, answers: Sequence[str]
) -> tuple[str, ...]:
    """Return a sentence for every answer of several tokens: which of them is scored, or that all are."""
    notes = []
    for answer in answers:
        texts = [model.tokenizer.token(i) for i in model.continuation(clean, answer)]
        if len(texts) < 2:
            continue
        which = f"at its first, {texts[0]!r}" if not n_before else f"at token {n_before + 1}, {texts[n_before]!r}"
        if metric.kind == "sequence_log_probability":
            which = "along all of them, as log P"
        notes.append(f"{answer!r} has {len(texts)} tokens and is read {which}")
    return tuple(notes)


def _at_mask(
    model: ReadsPrompts,
    clean: Stimulus,
    other: Stimulus | None,
    kind: MetricKind,
    targets: Sequence[str],
    contrasts: Sequence[str],
) -> Found:
    """Return what is read of answers that stand at a prompt's mask, or in the mean at each of several."""
    bare = model.tokenizer.bare
    prompt, mask = model.tokenizer.text_of(clean), str(bare.mask_token)
    places = [np.flatnonzero(shown.ids == bare.mask_token_id).tolist() for shown in (clean, other) if shown is not None]
    if not places[0] or prompt.count(mask) != len(places[0]) or places[-1] != places[0]:
        raise CannotRead(
            expected=f"a prompt with {mask}, and a counterpart with it at the same places, for "
            f"{type(model.module).__name__} fills in masks",
            got=repr(prompt[-60:]),
            remedy=f"Write {mask} where the answer belongs.",
            reason="prompts without masks at the same places",
        )
    read = []
    for side in (targets, contrasts):
        ids = [fill(model, clean, prompt, answer) for answer in side]
        for answer, id in zip(side, ids, strict=True):
            _check_known(model, answer, () if id is None else (id,), masked=True)
        read.append(tuple(dict.fromkeys(id for id in ids if id is not None)))
    _check_apart(model, read[0], read[1])
    names = [tuple(map(model.tokenizer.token, ids)) for ids in read]
    return (), Metric(kind, read[0], read[1], tuple(places[0])), (names[0], names[1])


def fill(model: ReadsPrompts, shown: Stimulus, prompt: str, answer: str) -> int | None:
    """Return which token an answer is in the place of a prompt's masks; None where it is not one and the same.

    Args:
        model: a masked language model.
        shown: the prompt's tokens, among them the mask, once or several times.
        prompt: the text.
        answer: what is put in every mask's place.

    Returns:
        int | None: the token's id.
    """
    bare = model.tokenizer.bare
    at = np.flatnonzero(shown.ids == bare.mask_token_id)
    whole = model.tokenize(prompt.replace(str(bare.mask_token), answer.strip())).ids
    if not len(at) or len(whole) != len(shown) or not np.array_equal(np.flatnonzero(whole != shown.ids), at):
        return None
    tokens = set(whole[at].tolist())
    return tokens.pop() if len(tokens) == 1 else None


def read_image(
    model: ReadsImages,
    shown: Any,
    targets: Sequence[str | int],
    contrasts: Sequence[str | int],
    *,
    counterpart: Any = None,
    measure: MetricKind | None = None,
    metric: Metric | None = None,
) -> ReadCase:
    """Turn an image and its classes into a picture and a metric; see ``Model.read_case``.

    Returns:
        ReadCase: picture, counterpart and metric.

    Raises:
        CannotRead: no class, or a counterpart of the same pixels.
        PatchclampError: several images, or a class that the model does not have.
    """
    clean, other = (None if one is None else _picture(model, one) for one in (shown, counterpart))
    assert clean is not None
    if other is not None and other.id == clean.id:
        raise CannotRead.same("image", "pixels")
    target, contrast = "", None
    if metric is None:
        kind, against = settle_measure(measure, targets, contrasts)
        sides = [tuple(map(model.class_index, side)) for side in (targets, against)]
        metric = Metric(kind, sides[0], sides[1])
        target, contrast = (" | ".join(map(model.answer_name, side)) for side in sides)
    check_metric(model, clean, metric)
    names = [tuple(map(model.answer_name, side)) for side in (metric.target, metric.contrast)]
    called = [None if one is None else one.name or one.id[:12] for one in (clean, other)]
    return ReadCase(clean, other, metric, str(called[0]), called[1], target, contrast or None, names[0], names[1])


def read_classes(
    model: Any,
    shown: Any,
    targets: Sequence[str | int],
    contrasts: Sequence[str | int],
    *,
    counterpart: Any = None,
    measure: MetricKind | None = None,
    metric: Metric | None = None,
    chat: bool = False,
) -> ReadCase:
    """Turn a text and its classes into tokens and a metric; see ``Model.read_case``.

    The model is ``ReadsPrompts`` and ``ReadsImages``: shown text, it answers with classes.

    Returns:
        ReadCase: tokens, counterpart and metric, read once for the whole text.

    Raises:
        CannotRead: texts that do not fit the context, or of unequal length.
        PatchclampError: several texts, or a class that the model does not have.
    """
    _ = model.tokenizer  # a model without one says so
    clean, other = _prompt(model, shown, chat), None if counterpart is None else _prompt(model, counterpart, chat)
    if other is not None:
        _check_aligned(model, clean, other)
    words = [None if one is None else model.tokenizer.text_of(one) for one in (clean, other)]
    target, contrast = "", None
    if metric is None:
        kind, against = settle_measure(measure, targets, contrasts)
        sides = [tuple(map(model.class_index, side)) for side in (targets, against)]
        metric = Metric(kind, sides[0], sides[1])
        target, contrast = (" | ".join(map(model.answer_name, side)) for side in sides)
    check_metric(model, clean, metric)
    names = [tuple(map(model.answer_name, side)) for side in (metric.target, metric.contrast)]
    case = ReadCase(clean, other, metric, "", None, target, contrast or None, names[0], names[1])
    return _in_words(model, case, words, shown if isinstance(shown, str) and not chat else None)


def _picture(model: ReadsImages, image: Any) -> Picture:
    pictures = model.stimuli(image)
    if len(pictures) != 1:
        raise PatchclampError(
            expected="one image", got=f"{len(pictures)}", remedy="Explain them one by one: name one, as in digits:17."
        )
    return pictures[0]


def _check_known(model: ReadsPrompts, answer: str, ids: tuple[int, ...], *, masked: bool = False) -> None:
    """Refuse an answer that the vocabulary does not have: what is read would be its unknown word."""
    unknown = model.tokenizer.bare.unk_token_id
    if masked and not ids:
        raise CannotRead(
            expected="an answer of one token, which leaves the others as they are",
            got=repr(answer),
            remedy="Choose a word that the vocabulary has whole.",
            reason="answers that are not one known token at the mask",
        )
    if unknown is not None and unknown in ids:
        raise CannotRead(
            expected="an answer made of words that the model's vocabulary has",
            got=f"{answer!r}, which it reads as {''.join(map(model.tokenizer.token, ids))!r}",
            remedy="Choose another word; `patchclamp organism card NAME` shows an organism's own.",
            reason="answers that are not one known token at the mask"
            if masked
            else "answers that the vocabulary lacks",
        )


def _check_apart(model: ReadsPrompts, targets: tuple[int, ...], contrasts: tuple[int, ...]) -> None:
    if both := set(targets) & set(contrasts):
        raise CannotRead(
            expected="a contrast that departs from the target",
            got=f"{model.tokenizer.token(min(both))!r} as both",
            remedy="Name another answer.",
            reason=ALIKE,
        )


def unknown_words(tokenizer: Tokenizer, shown: Stimulus) -> list[str]:
    """Return the words of a prompt that a vocabulary lacks, each once, in their order."""
    unknown = tokenizer.bare.unk_token_id
    if unknown is None or shown.text is None:
        return []
    spans = shown.spans[shown.ids == unknown].tolist()
    return list(dict.fromkeys(shown.text[start:stop].strip() for start, stop in spans if stop > start))


def _tokens_with_answer(prompt: Stimulus, ids: tuple[int, ...]) -> Stimulus:
    """Return a prompt's tokens and an answer's first ones; as ids, for half a character has no text."""
    if not ids:
        return prompt
    more = Stimulus.of(np.array(ids, dtype=np.int64))
    return Stimulus(
        np.concatenate([prompt.ids, more.ids]),
        np.concatenate([prompt.roles, more.roles]),
        np.concatenate([prompt.spans, more.spans]),
        prompt.text,
    )


def _check_aligned(model: ReadsPrompts, clean: Stimulus, other: Stimulus) -> None:
    if clean.ids.tolist() == other.ids.tolist():
        raise CannotRead.same("prompt", "tokens")
    if len(clean) == len(other):
        return
    token = model.tokenizer.token
    departs = next(
        (i for i, (a, b) in enumerate(zip(clean.ids, other.ids, strict=False)) if a != b), min(len(clean), len(other))
    )
    one, two = ("".join(token(int(i)) for i in s.ids[departs : departs + 6]) for s in (clean, other))
    raise CannotRead(
        expected=f"a corrupted prompt of {len(clean)} tokens, as the prompt has",
        got=f"{len(other)} tokens; they depart at position {departs}: {one!r} against {two!r}",
        remedy="Replace words by others of as many tokens, so that every position has its counterpart.",
        reason="prompts of unequal length",
    )
