"""Who reads, encodes and chooses: a language model's own states and likelihoods, and plain counts of words."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.describe.judge import Window

BATCH = 32
"""Texts that a model reads at once."""
WIDTH = 2**12
"""Places into which words are hashed."""
_QUOTED = re.compile(r'"([^"]*)"')
_WORD = re.compile(r"\w+|[^\w\s]")


class ModelReader:
    """Read with a language model.

    Args:
        model: a language model: it reads text, and gives logits.
        name: of the reader; the model's by default.

    Raises:
        PatchclampError: a subject that reads no text.
    """

    @checked
    def __init__(self, model: Any, name: str = "") -> None:
        _refuse_no_text(model, "that reads descriptions")
        self.model, self.name = model, name or f"model/{model.name}"

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Return log p(text | context) in nats; None of a pair that is longer than the model's context, or no text.

        Context and text are tokenized apart, so that what is read of a text is the same after every context.
        """
        found: list[float | None] = [None] * len(pairs)
        rows = []
        for place, (context, text) in enumerate(pairs):
            before, after = self._ids(f"{context}\n", prompt=True), self._ids(text, prompt=False)
            longest = getattr(self.model, "context", None)
            if len(after) and (longest is None or len(before) + len(after) <= longest):
                rows.append((place, len(before), [*before, *after]))
        rows.sort(key=lambda row: len(row[2]))
        for first in range(0, len(rows), BATCH):
            some = rows[first : first + BATCH]
            logits = self.model.run([ids for _, _, ids in some]).logits
            for (place, n, ids), own in zip(some, logits, strict=True):
                log_p = torch.log_softmax(own[n - 1 : len(ids) - 1].double(), -1)
                found[place] = float(log_p.gather(1, torch.tensor(ids[n:], device=log_p.device)[:, None]).sum())
        return found

    def _ids(self, text: str, *, prompt: bool) -> list[int]:
        """Return the ids of a text; of a prompt with what it begins with, but nothing that ends it."""
        [shown] = self.model.stimuli([text])
        counted = np.flatnonzero(shown.counted)
        if not prompt:
            return [int(i) for i in shown.ids[counted]]
        return [int(i) for i in shown.ids[: counted[-1] + 1 if len(counted) else 1]]


class CountReader:
    """Read by counting words: those of the context are likelier in the text, as in the cache of a language model.

    p(word | context) = (1 − w) · p(word) + w · share of the context's words that it is; p(word) by how often it is in
    some texts, each word once more. It knows nothing of language, and is exact: what it says of a description is
    whether windows hold its words, rare ones above all.

    Args:
        texts: from which p(word) is counted, such as all windows.
        weight: w, of the context.
    """

    name = "counts"

    @checked
    def __init__(self, texts: Sequence[str] = (), weight: float = 0.1) -> None:
        self._counts = Counter(word for text in texts for word in split_words(text))
        self._total, self._weight = self._counts.total() + len(self._counts) + 1, weight

    def log_likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """Return log p(text | context) in nats; None of a text without words."""
        known: dict[str, Counter[str]] = {}
        for context, _ in pairs:
            if context not in known:
                known[context] = Counter(named_words(context))
        found: list[float | None] = []
        for context, text in pairs:
            own, words, w = known[context], split_words(text), self._weight
            n = max(1, own.total())
            p = [(1 - w) * (1 + self._counts[word]) / self._total + w * own[word] / n for word in words]
            found.append(sum(map(math.log, p)) if words else None)
        return found


class StateEncoder:
    """Encode a text as the mean of a model's states at the middle of its stream, less that of all windows.

    The windows are those that were last encoded as no queries: states of a model all point one way.

    Args:
        model: a language model.
        site: whose states; by default what the middle block writes to the stream.

    Raises:
        PatchclampError: a subject that reads no text, or has no such site.
    """

    @checked
    def __init__(self, model: Any, site: str | None = None) -> None:
        _refuse_no_text(model, "that encodes descriptions")
        stream = [one.path for one in model.sites() if one.kind == "resid_out"]
        if site is None and not stream:
            raise PatchclampError(
                expected="a model with a stream, for its states to encode texts",
                got=model.name,
                remedy="Name a site, or give an encoder.",
            )
        self.model, self.site = model, site or stream[len(stream) // 2]
        self.name = f"states/{model.name}/{self.site}"
        self._middle: Any = 0.0

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Float[np.ndarray, "text width"]:
        """Return the mean state over each text's tokens; texts beyond the model's context are cut."""
        longest = getattr(self.model, "context", None)
        shown = [one.ids[:longest].tolist() for one in self.model.stimuli(list(texts))]
        order = sorted(range(len(shown)), key=lambda i: len(shown[i]))
        rows: dict[int, np.ndarray] = {}
        for first in range(0, len(order), BATCH):
            some = order[first : first + BATCH]
            recording = self.model.run([shown[i] for i in some], record=[self.site], logits=False).recording
            values = recording[self.site].double().cpu().numpy()
            for i, (a, b) in zip(some, _cuts([len(shown[i]) for i in some]), strict=True):
                rows[i] = values[a:b].mean(0)
        states = np.array([rows[i] for i in range(len(texts))])
        if not query:
            self._middle = states.mean(0)
        return states - self._middle


class CountEncoder:
    """Encode a text by the words that it holds, each hashed to a place: an encoder without a model.

    A word that h of n windows hold counts log((n − h + ½) / (h + ½)), and nothing where most hold it; the windows are
    those that were last encoded as no queries.
    """

    name = "word counts"

    def __init__(self) -> None:
        self._weights: np.ndarray | None = None

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Float[np.ndarray, "text width"]:
        """Return the weighed words of each text."""
        held = np.zeros((len(texts), WIDTH))
        for row, text in enumerate(texts):
            for word in set(named_words(text) if query else split_words(text)):
                held[row, int.from_bytes(word.encode()[-8:], "big") * 2654435761 % 2**32 % WIDTH] = 1.0
        if not query:
            n = held.sum(0)
            self._weights = np.log((len(texts) - n + 0.5) / (n + 0.5)).clip(0)
        return held if self._weights is None else held * self._weights


class OverlapChooser:
    """Choose the window whose marked tokens the others have least: an intruder's marks are of other tokens."""

    name = "overlap of marked tokens"

    def choose_odd(self, windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]]) -> int | None:
        """Return the place of the window with the least in common; the first of several."""
        sets = [
            {token for token, marked in zip(window.tokens, mark.tolist(), strict=True) if marked}
            for window, mark in zip(windows, marks, strict=True)
        ]
        shares = [sum(_jaccard(own, other) for j, other in enumerate(sets) if j != i) for i, own in enumerate(sets)]
        return int(np.argmin(shares)) if shares else None


def split_words(text: str) -> list[str]:
    """Return a text's words in small letters, and its signs.

    Example:
        >>> split_words('The cat, " cat"')
        ['the', 'cat', ',', '"', 'cat', '"']
    """
    return _WORD.findall(text.lower())


def named_words(description: str) -> list[str]:
    """Return the words that a description names: those in quotes where there are such, as rules have them, else all.

    Signs outside of quotes are not named: counted, the full stop of surprisal's control would make every window with
    more sentences less likely, and descriptions that know nothing would score below chance.

    Example:
        >>> named_words('the token " cat"'), named_words("cats and dogs."), named_words('the token "."')
        (['cat'], ['cats', 'and', 'dogs'], ['.'])
    """
    quoted = _QUOTED.findall(description)
    return split_words(" ".join(quoted)) if quoted else re.findall(r"\w+", description.lower())


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _cuts(lengths: Sequence[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(lengths).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _refuse_no_text(model: Any, what: str) -> None:
    if not (hasattr(model, "stimuli") and hasattr(model, "run") and hasattr(model, "tokenizer")):
        raise PatchclampError(
            expected=f"a language model {what}",
            got=str(getattr(model, "name", type(model).__name__)),
            remedy="Give another reader or encoder: describe/judge.py says what one has.",
        )
