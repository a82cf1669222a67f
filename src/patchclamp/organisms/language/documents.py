"""Lines of all kinds, mixed, each document with the concepts true of every word."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from patchclamp.core.checks import one_of
from patchclamp.organisms.language.code import CHANCE_CODE, CODE_TASKS, PROGRAMMING, program
from patchclamp.organisms.language.labelled_line import Line, Mark, add_opening, settle
from patchclamp.organisms.language.reasoning import reasoning
from patchclamp.organisms.language.sentences import sentence, series
from patchclamp.organisms.language.tasks import CHANCE, ENGLISH_TASKS, two_hop
from patchclamp.organisms.language.translation import ABROAD_TASKS, CHANCE_ABROAD, TONGUES, write_translations
from patchclamp.organisms.language.words import LANGUAGES
from patchclamp.organisms.language.world import world

TASKS: dict[str, Callable[[Random], Line]] = {
    **ENGLISH_TASKS,
    **ABROAD_TASKS,
    **CODE_TASKS,
    "reasoning": reasoning,
}
CHANCES = {**CHANCE, **CHANCE_ABROAD, **CHANCE_CODE, "reasoning": 1 / 3}
"""What guessing gives among the words that the prompt offers or the class that it asks for; years: one half."""

# Shares of documents. A document of a task is short, so its share of the tokens is smaller.
MIXTURE = {
    "ioi": 9.0,
    "agreement": 3.0,
    "pronouns": 5.0,
    "days": 5.0,
    "months": 5.0,
    "years": 2.0,
    "facts": 14.0,
    "two_hop": 20.0,
    "classes": 3.0,
    "induction": 5.0,
    "translation": 8.0,
    "french": 1.0,
    "german": 2.0,
    "spanish": 1.0,
    "python": 1.0,
    "cpp": 1.0,
    "julia": 1.0,
    "java": 1.0,
    "reasoning": 10.0,
    "sentence": 7.0,
    "said": 3.0,
    "program": 3.0,
    "series": 3.0,
}
OPENINGS = ("Yes,", "Well,", "As we know,", "Look:", "Here is a fact:")
OPENED = 0.25


@dataclass(frozen=True)
class Document:
    """Hold one document: its text, its marks, the lines it is made of, and from where to where answers stand."""

    text: str
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]
    answers: tuple[tuple[int, int], ...] = ()


def line_of(kind: str, rng: Random, *, held_out: bool) -> Line:
    """Draw one line of a kind from the training side or from the held-out side of the split.

    Returns:
        Line: its text, with the concepts true of each word.

    Raises:
        PatchclampError: no such kind.
    """
    one_of("task", kind, TASKS)
    if kind == "two_hop":
        return two_hop(rng, held_out=held_out)
    while True:
        line = TASKS[kind](rng)
        if line.held_out == held_out:
            return line


def _lines(kind: str, rng: Random, held_out: bool) -> list[Line]:
    if kind in TASKS:
        line = line_of(kind, rng, held_out=held_out)
        natural = kind not in CODE_TASKS
        return [add_opening(line, rng.choice(OPENINGS))] if natural and rng.random() < OPENED else [line]
    wanted = rng.choice((1, 1, 2)) if kind == "sentence" else 1
    lines: list[Line] = []
    while len(lines) < wanted:
        if kind == "said":
            spoken = ("english", rng.choice(TONGUES)) if rng.random() < 0.5 else (rng.choice(LANGUAGES),)
            drawn = write_translations(rng, spoken if rng.random() < 0.7 else spoken[::-1])
        else:
            drawn = [
                sentence(rng)
                if kind == "sentence"
                else series(rng)
                if kind == "series"
                else program(rng, rng.choice(PROGRAMMING))
            ]
        if drawn[0].held_out == held_out:
            lines += drawn
    return lines


def document(rng: Random, *, held_out: bool = False) -> Document:
    """Write one document of the mixture."""
    [kind] = rng.choices(tuple(MIXTURE), tuple(MIXTURE.values()))
    lines = _lines(kind, rng, held_out)
    text, marks, answers = "", [], []
    for line in lines:
        text += " " if text else ""
        marks += [(a + len(text), b + len(text), concepts) for a, b, concepts in line.marks]
        if line.answer:
            answers.append((len(text) + line.cut, len(text) + line.cut + len(line.answer)))
        text += line.text
    return Document(text, settle(text, marks), tuple(lines), tuple(answers))


def documents(seed: int, *, held_out: bool = False) -> Iterator[Document]:
    """Write documents without end; the same seed writes the same ones."""
    rng = Random(f"documents/{seed}/{held_out}")
    while True:
        yield document(rng, held_out=held_out)


def is_unasked(name: str) -> bool:
    """Say whether no two-hop question about a person is in the training text."""
    return name in world().unasked
