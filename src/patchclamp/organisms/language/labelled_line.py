"""Text whose every word carries the concepts true of it, written from templates."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from patchclamp.organisms.language.concepts import concepts_of
from patchclamp.organisms.language.words import LANGUAGES, NAMES

Slot = str | tuple[str, ...]
Mark = tuple[int, int, frozenset[str]]
_PIECE = re.compile(r"\{(\w+)\}|([\[\]|])|([^\W\d_]+|\d+|[^\w\s]|\s+|_)")
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]|\s+|_")
HELD_OUT = 5
"""One (template, filler) pair in so many is never trained on."""


@dataclass(frozen=True)
class Line:
    """Hold one piece of text and the concepts of its words.

    Args:
        text: the characters.
        marks: first and past-last character of a word, and its concepts.
        task: the kind of line.
        template: which template of that kind.
        filler: the words that make it particular.
        cut: characters of the prompt, where the line asks something.
        answer: what follows the prompt.
        wrong: what follows the corrupted prompt.
        corrupted: a prompt that differs in what decides the answer.
        answers: everything that is right, where more than ``answer`` is.
        wrongs: everything that is right after the corrupted prompt.
    """

    text: str
    marks: tuple[Mark, ...]
    task: str = ""
    template: str = ""
    filler: tuple[str, ...] = ()
    cut: int = 0
    answer: str = ""
    wrong: str = ""
    corrupted: str = ""
    answers: frozenset[str] = field(default=frozenset())
    wrongs: frozenset[str] = field(default=frozenset())

    @property
    def prompt(self) -> str:
        """The text up to the answer."""
        return self.text[: self.cut]

    @property
    def held_out(self) -> bool:
        """Whether training never sees this template with this filler."""
        return is_held_out(self.task, self.template, self.filler)


@cache
def _draw(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % HELD_OUT


def is_held_out(task: str, template: str, filler: Iterable[str]) -> bool:
    """Say whether a template and a filler are kept apart in training; a fixed draw, one pair in ``HELD_OUT``.

    Returns:
        bool: the same on every machine.
    """
    return _draw("\n".join(("held out", task, template, *filler))) == 0


@cache
def _pieces(template: str) -> tuple[tuple[str, str], ...]:
    pieces = []
    for slot, sign, plain in _PIECE.findall(template):
        pieces.append(("slot", slot) if slot else ("sign", sign) if sign else ("plain", plain))
    return tuple(pieces)


@cache
def _words(text: str, language: str, extra: tuple[str, ...], literal: bool) -> tuple[tuple[str, frozenset[str]], ...]:
    spoken = next((name for name in extra if name in LANGUAGES), language)
    words = []
    for word in _WORD.findall(text):
        if word.isspace():
            words.append((word, frozenset[str]()))
        elif word[0].isalnum():
            words.append((word, concepts_of(word, spoken, literal) | frozenset(extra)))
        else:
            concepts = {",": {"comma"}, ".": {"sentence_end"}, "?": {"sentence_end"}, "!": {"sentence_end"}}.get(word)
            words.append((word, frozenset(concepts or ()) | {spoken}))
    return tuple(words)


def write(template: str, slots: Mapping[str, Slot], language: str = "english") -> tuple[str, tuple[Mark, ...], int]:
    """Write a template: ``{slot}`` is filled, ``|`` ends the prompt, ``[`` and ``]`` hold the deciding step.

    A slot's value is its words, or its words and the concepts they have here beside their own; "a" becomes "an" where
    the slot begins with a vowel.

    Returns:
        tuple: text, marks, and the prompt's length (0 without a ``|``).
    """
    text, cut, deciding = "", 0, False
    marks: list[Mark] = []
    for kind, value in _pieces(template):
        if kind == "sign":
            if value == "|":
                cut = len(text)
            else:
                deciding = value == "["
            continue
        filled: Slot = slots[value] if kind == "slot" else value
        surface, *extra = (filled,) if isinstance(filled, str) else filled
        if kind == "slot" and language == "english" and surface[0] in "aeiou" and text[-3:] in (" a ", " A ", "A "):
            text = text[:-1] + "n "
            start, _, concepts = marks[-1]
            marks[-1] = (start, len(text) - 1, concepts)
        for word, concepts in _words(surface, language, tuple(extra), kind == "plain"):
            if not word.isspace():
                marks.append((len(text), len(text) + len(word), concepts | {"deciding_step"} if deciding else concepts))
            text += word
    return text, tuple(marks), cut


def fill(
    task: str,
    template: str,
    slots: Mapping[str, Slot],
    filler: tuple[str, ...],
    *,
    language: str = "english",
    answer: str = "",
    wrong: str = "",
    corrupt: Mapping[str, Slot] | None = None,
    answers: Iterable[str] = (),
    wrongs: Iterable[str] = (),
) -> Line:
    """Write one line of a task; ``corrupt`` says which slots the corrupted prompt fills otherwise.

    Returns:
        Line: its text, prompts, answers and concepts.
    """
    text, marks, cut = write(template, slots, language)
    corrupted = ""
    if corrupt is not None:
        other, _, end = write(template, {**slots, **corrupt}, language)
        corrupted = other[:end]
    right = (frozenset(answers or (answer,)), frozenset(wrongs or (wrong,)))
    return Line(text, marks, task, template, filler, cut, answer, wrong, corrupted, *right)


def add_opening(line: Line, opening: str) -> Line:
    """Put an opening such as "Yes," before a line; the pair that is held out stays the same."""
    text, marks, _ = write(opening + " ", {})
    shift = len(text)
    moved = tuple((a + shift, b + shift, concepts) for a, b, concepts in line.marks)
    return Line(
        text + line.text,
        marks + moved,
        line.task,
        line.template,
        line.filler,
        line.cut + shift,
        line.answer,
        line.wrong,
        text + line.corrupted if line.corrupted else "",
        line.answers,
        line.wrongs,
    )


def settle(text: str, marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """Add the concepts that depend on the whole document: where sentences start, and what comes again."""
    settled: list[Mark] = []
    seen: set[str] = set()
    start = True
    for a, b, concepts in marks:
        word, more = text[a:b], set[str]()
        natural = bool(concepts.intersection(LANGUAGES))
        if start and natural and word[0].isalnum():
            more.add("sentence_start")
            start = False
        if word in NAMES and natural:
            if word in seen:
                more.add("repeated_name")
            seen.add(word)
        if "invented" in concepts:
            if word in seen:
                more.add("repeat")
            seen.add(word)
        if "sentence_end" in concepts:
            start = True
        settled.append((a, b, concepts | more))
    return tuple(settled)
