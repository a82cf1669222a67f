"""A small corpus for every organism, and what a survey of it finds, for methods that take a Corpus or Exemplars."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from patchclamp.core.corpus import Corpus
from patchclamp.core.exemplars import Exemplars
from patchclamp.describe.evidence import EvidenceOptions, draw_evidence
from patchclamp.organisms import digits, language
from patchclamp.record import survey_corpus
from patchclamp.subjects.recordable import select_recordable


def make_corpus(subject: Any, n: int = 200, window: int = 20) -> Corpus:
    """Return a small corpus for an organism: words of its vocabulary in an order of chance, or digits.

    Returns:
        Corpus: over a file of this process.

    Example:
        >>> from patchclamp.loaders import load
        >>> make_corpus(load("organism:cat"), 20, 8).window
        8
    """
    if subject.name in digits.names():
        return Corpus("digits:0:40", "images")
    file = Path(_place().name) / f"{subject.name}-{n}.txt"
    if not file.exists():
        tokenizer, special = subject.tokenizer, subject.tokenizer.special
        words = sorted({tokenizer.token(id).strip() for id in tokenizer.bare.get_vocab().values() if id not in special})
        chosen = np.random.default_rng(0).choice([word for word in words if word.isascii() and word.isalpha()], n)
        file.write_text("\n".join(" ".join(line) for line in chosen.reshape(-1, 10)), encoding="utf-8")
    return Corpus(file, window=window)


def make_text(name: str, n: int = 60, seed: int = 0) -> Corpus:
    """Return a corpus of documents of a language organism's microworld.

    Returns:
        Corpus: over a file of this process; ``n`` documents in windows of 32 tokens.

    Example:
        >>> make_text("language-gpt2", 2).window
        32
    """
    file = Path(_place().name) / f"{name}-{n}-{seed}.txt"
    if not file.exists():
        texts = [str(one.stimulus.text) for one in language.text(n, seed=seed, name=name)]
        file.write_text("\n".join(texts), encoding="utf-8")
    return Corpus(file, window=32)


def make_exemplars(subject: Any) -> Exemplars:
    """Return what a survey of the small corpus finds for the units of a subject's first activations."""
    [site, *_] = [one for one in select_recordable(subject, "*") if one.kind.endswith("act")]
    with TemporaryDirectory() as folder:
        return survey_corpus(subject, make_corpus(subject), site.path, f"{folder}/new").exemplars(site.path)


def make_evidence(subject: Any, site: str) -> tuple[Exemplars, Exemplars]:
    """Return windows of three words of chance, in which units of a site fire or do not, for training and testing."""
    corpus = make_corpus(subject, 6000, 4)
    with TemporaryDirectory() as folder:
        drawn = draw_evidence(subject, corpus, site, EvidenceOptions(side="positive"), folder=f"{folder}/new")
        return drawn.train(site), drawn.test(site)


@cache
def _place() -> TemporaryDirectory[str]:
    """Return a folder that lasts as long as the process: a corpus is read anew each time."""
    return TemporaryDirectory(prefix="patchclamp-corpora-")
