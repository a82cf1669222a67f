"""Regular expressions without groups, matched in time linear in the text: no pattern can hang."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError

LONGEST, MOST_STEPS = 200, 400
"""Characters of an expression, and single characters that it is made of once its counts are written out."""
_ITEM = re.compile(
    r"(?P<sign>\[\^?(?:\\[dDwWsS]|\\[^A-Za-z0-9]|[^\[\]\\])+\]|\\[dDwWsS]|\\[^A-Za-z0-9]|[^\\\[\](){}|*+?^$])"
    r"(?P<count>[?*+]|\{(?P<least>\d{1,3})(?P<range>,(?P<most>\d{1,3})?)?\})?"
)
_SET_OPERATION = re.compile(r"--|&&|~~|\|\|")


@dataclass(frozen=True)
class _Step:
    """One character of a pattern.

    Args:
        sign: matches the character.
        optional: it may be left out.
        loops: it may come again.
    """

    sign: re.Pattern[str]
    optional: bool = False
    loops: bool = False


@dataclass(frozen=True)
class _Branch:
    steps: tuple[_Step, ...]
    at_start: bool
    at_end: bool

    def found_in(self, text: str) -> bool:
        """Run all ways of matching side by side, so that no character is looked at twice."""
        places: set[int] = set()
        for i in range(len(text) + 1):
            if i == 0 or not self.at_start:
                places.add(0)
            for place in range(len(self.steps)):
                if place in places and self.steps[place].optional:
                    places.add(place + 1)
            if len(self.steps) in places and (i == len(text) or not self.at_end):
                return True
            if i < len(text):
                fitting = [p for p in places if p < len(self.steps) and self.steps[p].sign.fullmatch(text[i])]
                places = {p if self.steps[p].loops else p + 1 for p in fitting}
        return False


@checked
def matches(expression: str, text: str) -> bool:
    r"""Say whether a text holds what a regular expression describes, wherever it stands.

    Args:
        expression: characters, ``.``, ``\d \w \s`` and their opposites, classes such as ``[a-z]``, each with ``? * +``
            or ``{2,5}``; ``^`` and ``$`` at the ends; ``|`` between alternatives. No groups.
        text: where it is looked for.

    Returns:
        bool: whether it is there.

    Raises:
        PatchclampError: an expression of another form.

    Source: Thompson (1968), Communications of the ACM 11, 419-422.

    Cost: characters of the text × characters of the expression, at most.

    Example:
        >>> matches(r"^ ?\d+$", " 1984"), matches("a+a+a+a+$", "a" * 5000 + "b")
        (True, False)
    """
    return any(branch.found_in(text) for branch in read_pattern(expression))


@lru_cache(maxsize=4096)
def read_pattern(expression: str) -> tuple[_Branch, ...]:
    """Read an expression.

    Raises:
        PatchclampError: it is too long, has invisible characters, groups, or what cannot be read.
    """
    if len(expression) > LONGEST or not expression.isprintable():
        _refuse(expression, f"{len(expression)} characters" if len(expression) > LONGEST else "invisible characters")
    branches = tuple(_read_branch(expression, part) for part in _split(expression))
    if sum(len(branch.steps) for branch in branches) > MOST_STEPS:
        _refuse(expression, f"counts that come to more than {MOST_STEPS} characters")
    return branches


def _split(expression: str) -> list[str]:
    """Split at every ``|`` that is neither escaped nor within a class."""
    parts, start, inside, i = [], 0, False, 0
    while i < len(expression):
        sign = expression[i]
        if sign == "\\":
            i += 1
        elif sign in "[]":
            inside = sign == "["
        elif sign == "|" and not inside:
            parts.append(expression[start:i])
            start = i + 1
        i += 1
    return [*parts, expression[start:]]


def _read_branch(expression: str, part: str) -> _Branch:
    at_start = part.startswith("^")
    body = part[1:] if at_start else part
    escaped = len(body) - len(body.rstrip("$").rstrip("\\"))  # "\$" is a character, "$" at the end is none
    at_end = body.endswith("$") and not (escaped > 1 and (escaped - 1) % 2)
    body = body[:-1] if at_end else body
    steps: list[_Step] = []
    place = 0
    while place < len(body):
        item = _ITEM.match(body, place)
        if item is None:
            _refuse(expression, repr(body[place:][:20]))
        steps += _read_item(expression, item)
        place = item.end()
    return _Branch(tuple(steps), at_start, at_end)


def _read_item(expression: str, item: re.Match[str]) -> list[_Step]:
    sign, count = item["sign"], item["count"] or ""
    if sign.startswith("[") and _SET_OPERATION.search(sign):
        _refuse(expression, sign)
    try:
        letters = re.compile(sign, re.DOTALL)
    except re.error as problem:
        _refuse(expression, f"{sign}: {problem}")
    least, most = {"": (1, 1), "?": (0, 1), "*": (0, None), "+": (1, None)}.get(count, (0, None))
    if item["least"]:
        least = int(item["least"])
        most = least if not item["range"] else None if item["most"] is None else int(item["most"])
    if least > MOST_STEPS or (most is not None and not least <= most <= MOST_STEPS):
        _refuse(expression, count)
    rest = [_Step(letters, True, True)] if most is None else [_Step(letters, True)] * (most - least)
    return [_Step(letters)] * least + rest


def _refuse(expression: str, what: str) -> NoReturn:
    raise PatchclampError(
        expected=f"an expression of at most {LONGEST} visible characters: characters, classes and counts, no groups",
        got=f"{expression[:60]!r}, with {what}"[:200],
        remedy=r"For example ^ ?\d+$, or [A-Z][a-z]+|[A-Z]{2,}.",
    )
