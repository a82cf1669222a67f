"""Read a corpus as one subject is shown it, in batches that are fixed before the first of them runs."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from patchclamp.core.arguments import checked
from patchclamp.core.corpus import Corpus, check_counts
from patchclamp.core.disk import file_hash
from patchclamp.core.errors import PatchclampError
from patchclamp.core.stimulus import Shown, Stimulus
from patchclamp.subjects.images import Gallery, gallery
from patchclamp.subjects.labelled import documents
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.text import Tokenizer, conversations, windows
from patchclamp.subjects.vision import VisionModel


@dataclass(frozen=True, eq=False)
class Batches:
    """Stimuli in a fixed order and in fixed batches, read anew each time that they are gone through.

    Args:
        stream: yields every stimulus, from the first.
        kind: ``text``, ``images``, or ``arrays`` for the inputs of a plain network.
        batch_size: stimuli per forward pass, in order.
        n_stimuli: how many stimuli there are.
        n_tokens: how many tokens, special ones included; of images their number.
        n_counted: how many of these statistics count.
        stimuli: SHA-256 over the stimuli's ids in order.
        checks: the first bytes of every batch's hash, by which a batch that is no longer the planned one is known.
        corpus: what is read, its window and content known; None where the stimuli lie in memory.
    """

    stream: Callable[[], Iterable[Shown]] = field(repr=False)
    kind: str
    batch_size: int
    n_stimuli: int
    n_tokens: int
    n_counted: int
    stimuli: str
    checks: UInt64[np.ndarray, " batch"] = field(repr=False)
    corpus: Corpus | None = None

    def __iter__(self) -> Iterator[tuple[Shown, ...]]:
        return self.start_at(0)

    def start_at(self, stimulus: int) -> Iterator[tuple[Shown, ...]]:
        """Yield the batches from a stimulus on, which must be where a batch begins, or the end.

        What comes before it is read and compared all the same.

        Raises:
            PatchclampError: before the first batch that is not the planned one.
        """
        number = 0
        for number, batch in enumerate(cut_batches(self.stream(), self.batch_size), 1):
            if number > len(self.checks) or _check(batch) != self.checks[number - 1]:
                raise changed_file_error(self.kind)
            if (number - 1) * self.batch_size >= stimulus:
                yield batch
        if number != len(self.checks):
            raise changed_file_error(self.kind)

    def to_json(self) -> dict[str, Any]:
        """Return the plan that decides what is computed, as JSON-ready data; where files lie is no part of it."""
        plan = {"batch_size": self.batch_size, "n_stimuli": self.n_stimuli, "stimuli": self.stimuli}
        if self.kind != "text" or self.corpus is None:
            return {**plan, "max_images": None if self.corpus is None else self.corpus.max_images}
        cut = self.corpus
        return {
            **plan,
            "text": cut.content,
            "window": cut.window,
            "bos": cut.bos,
            "chat": cut.kind == "chat",
            "max_tokens": cut.max_tokens,
            "n_tokens": self.n_tokens,
            **({"skip_first": cut.skip_first} if cut.skip_first else {}),
        }


@checked
def read_corpus(subject: Any, corpus: Any, *, batch_size: int = 8) -> Batches:
    """Return a corpus in the batches that a subject is shown.

    Args:
        subject: a language model, or a model of images.
        corpus: a Corpus; the path of one with default options; of a model of images also pictures and arrays, as for
            ``VisionModel.stimuli``. Batches are given back as they are.
        batch_size: stimuli per forward pass, in order, padded on the right.

    Returns:
        Batches: the same batches whenever the corpus is read with the same arguments.

    Raises:
        PatchclampError: nothing there, a corpus of another kind than the subject takes, a window beyond its context,
            or another content than the corpus names.

    Cost: one tokenisation of the text, or one reading of every image; memory of one passage, and 8 bytes a batch.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> story = Path(tempfile.mkdtemp()) / "story.txt"
        >>> _ = story.write_text("the old cat sat on the mat. " * 3)
        >>> batches = read_corpus(load("organism:cat"), Corpus(story, window=8), batch_size=2)
        >>> [[len(stimulus) for stimulus in batch] for batch in batches]
        [[8, 8], [8, 4]]
    """
    if isinstance(corpus, Batches):
        return corpus
    check_counts({"--batch-size": batch_size})
    if isinstance(subject, VisionModel):
        return _read_images(subject, corpus, batch_size)
    if not (hasattr(subject, "tokenizer") and hasattr(subject, "context")):
        raise PatchclampError(
            expected="a language model or a model of images, which are shown a corpus",
            got=str(getattr(subject, "name", type(subject).__name__)),
            remedy="`record_inputs` and `survey_inputs` show a plain network its own inputs.",
        )
    if isinstance(corpus, str | Path):
        corpus = Corpus(corpus)
    if not isinstance(corpus, Corpus) or corpus.kind == "images":
        raise PatchclampError(
            expected=f"a Corpus of text for {subject.name}, or the path of a text",
            got="one of images" if isinstance(corpus, Corpus) else f"{corpus!r:.60}",
            remedy="For example Corpus('story.txt', window=64).",
        )
    return _read_text(subject, corpus, batch_size)


@checked
def read_shared(first: Any, second: Any, corpus: Any, *, batch_size: int = 8) -> Batches:
    """Return a text in batches that fit the contexts of two language models, and that both cut into the same tokens.

    Args:
        first: a language model.
        second: another, or the same.
        corpus: as for ``read_corpus``; batches are given back as they are.
        batch_size: stimuli per forward pass.

    Returns:
        Batches: of the first.

    Raises:
        PatchclampError: as ``read_corpus``, or two models that cut the text into other tokens.

    Cost: as ``read_corpus``, for each of the two.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> story = Path(tempfile.mkdtemp()) / "story.txt"
        >>> _ = story.write_text("the old cat sat on the mat. " * 3)
        >>> cat = load("organism:cat")
        >>> read_shared(cat, cat, story).n_tokens
        25
    """
    if isinstance(corpus, str | Path):
        corpus = Corpus(corpus)
    contexts = [one.context for one in (first, second) if getattr(one, "context", None) is not None]
    if isinstance(corpus, Corpus) and contexts:
        corpus = corpus.fit(min(contexts))
    batches = read_corpus(first, corpus, batch_size=batch_size)
    if second is first or batches.corpus is None:
        return batches
    again = read_corpus(second, batches.corpus, batch_size=batches.batch_size)
    if again.stimuli != batches.stimuli:
        raise PatchclampError(
            expected="two models that cut a text into the same tokens",
            got=f"{second.name}, which cuts it otherwise than {first.name}",
            remedy="Compare models of one tokenizer; `pc.compare` compares recordings of the same stimuli.",
        )
    return batches


def _read_text(model: LanguageModel, corpus: Corpus, batch_size: int) -> Batches:
    fixed = corpus.fit(model.context)
    if fixed.content and fixed.path.is_file() and file_hash(fixed.path) != fixed.content:
        raise changed_file_error("text")
    made = plan_batches(lambda: cut_text(model.tokenizer, fixed), "text", batch_size)
    return replace(made, corpus=replace(fixed, content=file_hash(fixed.path)))


def _read_images(model: VisionModel, corpus: Any, batch_size: int) -> Batches:
    if isinstance(corpus, str | Path):
        corpus = Corpus(corpus, kind="images")
    if not isinstance(corpus, Corpus):
        pictures = corpus if isinstance(corpus, Gallery) else Gallery.of(model.stimuli(corpus))
        return plan_batches(lambda: pictures, "images", batch_size)
    if corpus.kind != "images":
        raise PatchclampError(
            expected=f"a Corpus of images for {model.name}",
            got=f"one of {corpus.kind}",
            remedy="For example Corpus('digits:0:300', kind='images').",
        )
    images = gallery(corpus.source)
    made = plan_batches(lambda: islice(images, corpus.max_images), "images", batch_size)
    if corpus.content not in ("", made.stimuli):
        raise changed_file_error("images")
    return replace(made, corpus=replace(corpus, content=made.stimuli))


def cut_text(tokenizer: Tokenizer, corpus: Corpus) -> Iterator[Stimulus]:
    """Yield the stimuli of a corpus of text, as a tokenizer makes them.

    Args:
        tokenizer: what makes tokens.
        corpus: its window is fixed; see ``Corpus.fit``.

    Raises:
        PatchclampError: no text there, or lines that are not of its kind.
    """
    assert corpus.window is not None
    window, left = corpus.window, corpus.max_tokens
    stimuli: Iterable[Stimulus]
    if corpus.kind == "documents":
        # A document may be longer than the context, which tokenize would refuse.
        stimuli = (tokenizer.stimulus(one.text, longest=window) for one in documents(corpus.path))
    else:
        cut = conversations if corpus.kind == "chat" else windows
        stimuli = cut(tokenizer, corpus.path, window=window, bos=corpus.bos)
    for stimulus in stimuli:
        if left is not None:
            if left <= 0:
                return
            if len(stimulus) > left:
                stimulus = _shorten(tokenizer, stimulus, left)
            left -= len(stimulus)
        yield stimulus.skipping(slice(corpus.skip_first, None))


def _shorten(tokenizer: Tokenizer, stimulus: Stimulus, n: int) -> Stimulus:
    """Return the first tokens of a stimulus; a text that is whole in it ends as the tokenizer's texts do."""
    if stimulus.text is not None:
        return tokenizer.stimulus(stimulus.text, longest=n)
    return Stimulus(stimulus.ids[:n], stimulus.roles[:n], stimulus.spans[:n])


def plan_batches(stream: Callable[[], Iterable[Shown]], kind: str, batch_size: int) -> Batches:
    """Go through stimuli once, and return them as batches that are known again.

    Args:
        stream: returns all of them, from the first, each time that it is called.
        kind: ``text``, ``images`` or ``arrays``.
        batch_size: stimuli per forward pass.

    Returns:
        Batches: with lengths, ids and number of tokens of all stimuli, read once.
    """
    digest, n_stimuli, n_tokens, n_counted = hashlib.sha256(), 0, 0, 0
    checks = array("Q")
    for batch in cut_batches(stream(), batch_size):
        digest.update("".join(one.id for one in batch).encode())
        checks.append(_check(batch))
        n_stimuli, n_tokens = n_stimuli + len(batch), n_tokens + sum(map(len, batch))
        n_counted += sum(int(np.count_nonzero(one.counted)) for one in batch)
    return Batches(
        stream, kind, batch_size, n_stimuli, n_tokens, n_counted, digest.hexdigest(), np.array(checks, dtype=np.uint64)
    )


def cut_batches(stimuli: Iterable[Shown], batch_size: int) -> Iterator[tuple[Shown, ...]]:
    """Yield stimuli by so many at a time; the last batch may be smaller."""
    rest = iter(stimuli)
    # itertools.batched needs Python 3.12
    return iter(lambda: tuple(islice(rest, batch_size)), ())


def _check(batch: Sequence[Shown]) -> int:
    return int.from_bytes(hashlib.sha256("".join(one.id for one in batch).encode()).digest()[:8], "little")


def changed_file_error(what: str) -> PatchclampError:
    """Return the refusal of a text or of images that are no longer those that a run was planned on."""
    return PatchclampError(
        expected=f"the {what} that the run was planned on",
        got=f"another: the {what} changed meanwhile",
        remedy="Begin again, in another folder: nothing of the new one is kept as of the old one.",
    )
