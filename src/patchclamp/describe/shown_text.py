"""Windows as a language model reads them: one line each, with marks, and what is read of its answers."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from patchclamp.describe.chat_answers import Answer, clean
from patchclamp.describe.judge import Window
from patchclamp.describe.rules import quote

OPEN, CLOSE, LINE = "<<", ">>", "⏎"
LONGEST_SENTENCE = 300
"""Characters of a description."""
STRONGEST = 10
_LIST = re.compile(r"\[([^\[\]]*)\]")
_MARKER = re.compile(r"EXPLANATION[\]*_ ]{0,5}:(.*)", re.IGNORECASE)
_LINE = re.compile(r"\s*(\d{1,6})\s*:\s*(\d{1,2}(?:\.\d{1,6})?)\s*")
_SAID: Mapping[str, int] = {"1": 1, "0": 0, "yes": 1, "no": 0, "true": 1, "false": 0}


def show_window(window: Window, marks: Bool[np.ndarray, " token"] | None = None) -> str:
    """Return a window as one line; marked tokens stand between << and >>, neighbours in one pair of them.

    Args:
        window: of text.
        marks: which tokens are marked; none by default.

    Example:
        >>> show_window(Window((" a", " red", " cat", "!")), np.array([False, True, True, False]))
        ' a<< red cat>>!'
    """
    marked = np.zeros(len(window), dtype=bool) if marks is None else marks
    edges = np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8))
    parts = []
    for place, token in enumerate(window.tokens):
        parts.append((OPEN if edges[place] > 0 else "") + token + (CLOSE if edges[place + 1] < 0 else ""))
    return "".join(parts).replace("\r\n", LINE).replace("\n", LINE).replace("\r", LINE)


def show_passages(windows: Sequence[Window], marks: Sequence[Bool[np.ndarray, " token"]] | None = None) -> str:
    """Return windows as numbered lines."""
    shown = (show_window(one, None if marks is None else marks[place]) for place, one in enumerate(windows))
    return "\n".join(f"Passage {place}: {line}" for place, line in enumerate(shown, 1))


def show_tokens(window: Window) -> str:
    """Return a window as numbered tokens, one a line."""
    return "\n".join(f"{place} {quote(token)}" for place, token in enumerate(window.tokens, 1))


def scale_activations(values: Float[np.ndarray, " token"], most: float) -> Float[np.ndarray, " token"]:
    """Return activations as whole numbers from 0 to 10: ⌈10 · a / max⌉.

    Args:
        values: a; what is not finite counts as 0.
        most: max, above 0.

    Example:
        >>> scale_activations(np.array([-1.0, 0.0, 0.1, 0.55, 2.0, -np.inf]), 1.0).tolist()
        [0.0, 0.0, 1.0, 6.0, 10.0, 0.0]
    """
    share = np.where(np.isfinite(values), values, 0.0) / most
    # What rounding adds to a whole number must not make it the next one.
    scaled: np.ndarray = np.clip(np.ceil(np.round(STRONGEST * share, 9)), 0, STRONGEST)
    return scaled


def read_sentence(answer: Answer) -> str | None:
    """Return the description that an answer gives: what follows its last marker; without one the answer, if one line.

    Returns:
        str | None: one line of at most 300 characters that can be seen; None where there is no such thing.

    Example:
        >>> read_sentence(Answer("They are pets." + chr(10) + "**EXPLANATION:** words for pets.", 9, 9))
        'words for pets'
        >>> read_sentence(Answer('"words for pets"', 9, 9)), read_sentence(Answer('the token " cat"', 9, 9))
        ('words for pets', 'the token " cat"')
    """
    text = (answer.text or "").strip()
    found = _MARKER.findall(text)
    said = found[-1] if found else text if len(text.splitlines()) == 1 else ""
    sentence = clean(_unwrap(said), LONGEST_SENTENCE)
    return sentence if any(c.isalnum() for c in sentence) else None


def _unwrap(text: str) -> str:
    """Return a sentence without the full stop behind it and the quotes or stars around all of it."""
    bare = text.strip().strip("*_` ").removesuffix(".")
    quoted = len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'" and bare.count(bare[0]) == 2
    return bare[1:-1] if quoted else bare


def read_fits(answer: Answer, n: int) -> list[float | None]:
    """Return the answers about ``n`` windows: probabilities where the server gave such, else 1 or 0.

    Args:
        answer: that should hold a list of ones and noughts, or of yes and no; the last list counts.
        n: windows.

    Returns:
        list: None for each where there is no list of ``n``.

    Example:
        >>> read_fits(Answer("Here: [1, 0, yes]", 9, 9), 3), read_fits(Answer("[1]", 9, 9), 2)
        ([1.0, 0.0, 1.0], [None, None])
    """
    text = answer.text or ""
    lists = list(_LIST.finditer(text))
    if not lists:
        return [None] * n
    words = list(re.finditer(r"[^,;\s\"']+", lists[-1][1]))
    said = [_SAID.get(word[0].lower()) for word in words]
    if len(said) != n or None in said:
        return [None] * n
    starts = [lists[-1].start(1) + word.start() for word in words]
    return [_probability(answer, start, one) for start, one in zip(starts, said, strict=True)]


def _probability(answer: Answer, start: int, said: int | None) -> float:
    """Return p₁ / (p₀ + p₁) at a place of the text; what was said where the server gave no probabilities there."""
    at = 0
    for token, others in answer.alternatives:
        if at <= start < at + len(token):
            sums = [0.0, 0.0]
            for other, p in others.items():
                read = _SAID.get(other.strip(" [],\"'\n").lower())
                if read is not None:
                    sums[read] += p
            total = sums[0] + sums[1]
            if total > 0 and math.isfinite(total):
                return sums[1] / total
        at += len(token)
    return float(said or 0)


def read_activations(answer: Answer, n: int) -> Float[np.ndarray, " token"] | None:
    """Return how strongly a unit is said to fire at each of ``n`` tokens; None where one is left out or said twice.

    Example:
        >>> read_activations(Answer("1: 0" + chr(10) + "2: 7", 9, 9), 2).tolist()
        [0.0, 7.0]
    """
    found: dict[int, float] = {}
    for line in (answer.text or "").splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            place, value = int(match[1]), float(match[2])
            if place in found or not 1 <= place <= n or value > STRONGEST:
                return None
            found[place] = value
    return np.array([found[place] for place in range(1, n + 1)]) if len(found) == n else None


def read_place(answer: Answer, n: int) -> int | None:
    """Return which of ``n`` windows an answer names, from 0; None where it names none, or several.

    Example:
        >>> read_place(Answer("Passage 3", 9, 9), 5), read_place(Answer("2 or 3", 9, 9), 5)
        (2, None)
    """
    numbers = {int(one) for one in re.findall(r"\d{1,6}", answer.text or "")}
    return numbers.pop() - 1 if len(numbers) == 1 and 1 <= min(numbers) <= n else None


def read_scores(answer: Answer) -> tuple[float, float] | None:
    """Return the two scores from 1 to 10 of an answer's last list; None where there is no such list.

    Example:
        >>> read_scores(Answer("Scores: [7, 4.5]", 9, 9)), read_scores(Answer("[11, 4]", 9, 9))
        ((7.0, 4.5), None)
    """
    lists = _LIST.findall(answer.text or "")
    numbers = (
        [float(one) for one in re.findall(r"(?<![\w.-])\d{1,2}(?:\.\d{1,6})?(?![\w.])", lists[-1])] if lists else []
    )
    return (numbers[0], numbers[1]) if len(numbers) == 2 and all(1 <= one <= STRONGEST for one in numbers) else None


def read_lines(answer: Answer, most: int) -> tuple[str, ...]:
    """Return the first lines of an answer, each once, without what numbers or marks them.

    Example:
        >>> read_lines(Answer("1. accuracy" + chr(10) + "- clarity" + chr(10) + chr(10) + "accuracy", 9, 9), 5)
        ('accuracy', 'clarity')
    """
    lines = (clean(line, 60) for line in (answer.text or "").splitlines())
    words = (re.sub(r"^(?:\d{1,3}[.)]|[-*•])\s*", "", line).strip(" .*") for line in lines)
    return tuple(dict.fromkeys(word for word in words if word))[:most]
