"""What is known of a unit in one measured line."""

from collections.abc import Sequence
from dataclasses import dataclass

from patchclamp.atlas.read.responses import ConceptScore, TokenView, TokenWeight

CLEAR = 0.8
"""AUROC from which a unit is said to detect a concept."""
CHANCE = 0.5
ALWAYS = 0.9995
"""Share of tokens from which a unit is above zero everywhere, but for rounding."""
LABEL = "label"
"""Kind of the concepts that a text was labelled with."""
NAMED = 3
"""Promoted tokens that the line names."""
_BROKEN = {"\n": "↵", "\t": "⇥", "\r": "␍"}


@dataclass(frozen=True)
class LinePart:
    """One part of a unit's line: what it is of, and its words."""

    of: str
    text: str


@dataclass(frozen=True)
class UnitLine:
    """What is known of a unit, measured.

    Args:
        text: the whole line in words.
        parts: its parts, each with what it is of: ``attends``, ``detects``, ``strongest``, ``weak``, ``promotes``,
            ``fires``; of recorded units ``detects``, ``weak``, ``together``, ``mean``, ``group``.
        detects: the concept or pattern of tokens that it detects best; None where none could be measured.
        weak: why that says little (``below .8``, ``the interval touches chance``); empty where it is clear.
        strongest: the token with the highest mean activation, ``weight`` that mean; None where no token occurs often
            enough.
        promotes: tokens that it promotes most through the unembedding, without those that differ by a space or case.
        frequency: share of counted tokens at which it is above zero.
        silent: it never rose above zero.
        minimum: its lowest activation, where that is below zero; None elsewhere.
        attends: of an attention head where it attends, and whether it copies; empty elsewhere.
    """

    text: str
    parts: list[LinePart]
    detects: ConceptScore | None
    weak: str
    strongest: TokenWeight | None
    promotes: list[TokenWeight]
    frequency: float | None
    silent: bool
    minimum: float | None
    attends: str


def write_line(
    detects: ConceptScore | None,
    strongest: TokenWeight | None,
    promoted: Sequence[TokenWeight],
    frequency: float | None,
    minimum: float | None,
    maximum: float | None,
    attends: str = "",
) -> UnitLine:
    """Write a unit's line from what is known of it.

    Args:
        detects: the concept or pattern that it detects best.
        strongest: the token at which it is strongest on average.
        promoted: tokens that it promotes, the most first.
        frequency: share of tokens above zero.
        minimum: its lowest activation.
        maximum: its highest.
        attends: of an attention head where it attends.

    Returns:
        UnitLine: the line, and what it rests on.
    """
    silent, weak = maximum is None or maximum <= 0, weakness_of(detects)
    below = minimum if minimum is not None and minimum < 0 else None
    few = _distinct(promoted)
    parts = [LinePart("attends", attends)] if attends else []
    if detects is not None and not weak:
        parts.append(LinePart("detects", f"detects {name_concept(detects)}, AUROC {area_words(detects)}"))
    elif strongest is not None and strongest.weight != 0:
        mean = f"strongest on average at {spell(strongest)} (mean {strongest.weight:.2f})"
        parts.append(LinePart("strongest", mean))
    # A pattern of tokens that it does not detect well says less than the token at which it is strongest.
    if detects is not None and weak and (detects.kind == LABEL or strongest is None):
        parts.append(LinePart("weak", f"barely detects {name_concept(detects)}, AUROC {area_words(detects)}: {weak}"))
    if few:
        parts.append(LinePart("promotes", f"promotes {', '.join(spell(token) for token in few)}"))
    if silent:
        parts.append(LinePart("fires", "only below zero" if below is not None else "never fired"))
    elif frequency is not None and frequency > ALWAYS and not attends:
        parts.append(LinePart("fires", "above zero everywhere"))
    elif frequency is not None and not attends:
        parts.append(LinePart("fires", f"fires at {_percent(frequency)}"))
    return UnitLine(
        " · ".join(part.text for part in parts), parts, detects, weak, strongest, few, frequency, silent, below, attends
    )


def label_line(line: UnitLine, description: str | None) -> str:
    """Return a few words for a unit.

    Args:
        line: its line.
        description: its best description, where it has one.

    Returns:
        str: the description, else where it attends, else what it detects, else what it promotes, else where it is
            strongest; empty where nothing is known.
    """
    if description:
        return description
    if line.attends:
        return line.attends
    if line.detects is not None and not line.weak:
        return f"detects {name_concept(line.detects)}"
    if line.promotes:
        return f"promotes {', '.join(spell(token) for token in line.promotes)}"
    known = line.strongest is not None and line.strongest.weight != 0
    return f"strongest at {spell(line.strongest)}" if known and line.strongest is not None else ""


def label_below(suppressed: Sequence[TokenWeight]) -> str:
    """Return a few words for a unit where it is below zero: what it suppresses above zero it promotes there.

    Args:
        suppressed: tokens that it suppresses most, the most first, their weights below zero.

    Example:
        >>> label_below([TokenWeight(3, " re", False, -2.0)]), label_below([])
        ('below zero: promotes re', 'below zero')
    """
    turned = [TokenWeight(token.id, token.text, token.bytes, -token.weight) for token in suppressed]
    named = ", ".join(map(spell, _distinct(turned)))
    return f"below zero: promotes {named}" if named else "below zero"


def weakness_of(detects: ConceptScore | None) -> str:
    """Return why an AUROC says little; empty where it is clear, or where there is none."""
    if detects is None:
        return ""
    area = detects.auroc
    if area.low is None or area.low <= CHANCE:
        return "the interval touches chance"
    return f"below {CLEAR}".replace("0.", ".") if area.value is None or area.value < CLEAR else ""


def name_concept(one: ConceptScore) -> str:
    """Return a concept as the line names it: of tokens, with commas; of what follows a token, so."""
    if one.kind not in ("token", "after"):
        return one.concept.replace("_", " ")
    words = one.concept.removeprefix("after ") if one.kind == "after" else one.concept
    named = ", ".join(_quote(word) for word in words.split(" "))
    return named if one.kind == "token" else f"what follows {named}"


def spell(token: TokenWeight | TokenView) -> str:
    """Return a token's text without the space before it, white space alone as a sign."""
    text = "".join(c if c.isprintable() or c.isspace() else f"\\u{ord(c):04x}" for c in token.text)
    return _quote(text.strip()) if text.strip() else "".join(_BROKEN.get(c, "␣") for c in text)


def _quote(word: str) -> str:
    """Put what has no letter into quotation marks, so that it is not read as the sentence's own."""
    return word if any(c.isalnum() for c in word) else f'"{word}"'


def _distinct(promoted: Sequence[TokenWeight]) -> list[TokenWeight]:
    seen: dict[str, TokenWeight] = {}
    for token in promoted:
        if token.weight > 0:
            seen.setdefault(spell(token).casefold(), token)
    return list(seen.values())[:NAMED]


def area_words(one: ConceptScore) -> str:
    """Return an AUROC with its interval, without the zeros before the points."""

    def short(x: float | None) -> str:
        return "?" if x is None else f"{x:.2f}".removeprefix("0")

    return f"{short(one.auroc.value)} [{short(one.auroc.low)}, {short(one.auroc.high)}]"


def _percent(share: float) -> str:
    if 0 < share < 1e-4:
        return "less than 0.01 %"
    return f"{share * 100:.{2 if share < 0.01 else 1}f} %"
