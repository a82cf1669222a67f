"""What is known of an attention head in a few words."""

from collections.abc import Sequence

from patchclamp.atlas.read.responses import TokenView
from patchclamp.atlas.read.unit_line import spell

MUCH, PAIR, COPIES = 0.4, 0.2, 0.3
"""Share of the attention from which a head is said to attend to a place; mean weight of its first pair; and share of
frequent tokens that it promotes, or suppresses, most."""
_PLACES = ("itself", "the token before", "the token after", "others of the same text")


def head_words(
    shares: Sequence[float | None],
    copies: float,
    erases: float,
    pair: tuple[TokenView, TokenView, float] | None,
) -> str:
    """Return a head's line: where its attention goes, and whether it copies.

    Args:
        shares: mean attention on the first token, itself, the token before, the one after, and others of the same text.
        copies: share of frequent tokens that it promotes most where it attends to them.
        erases: share of them that it suppresses most.
        pair: source, target and mean weight of the pair with the most attention.

    Returns:
        str: empty where its attention is not finite.

    Example:
        >>> head_words([0.1, 0.0, 0.75, 0.0, 0.0], 0.9, 0.0, None)
        'attends to the token before (75 %), copies what it attends to'
    """
    if any(share is None for share in shares):
        return ""
    first, *places = [share or 0.0 for share in shares]
    best = max(range(len(places)), key=lambda i: places[i])
    parts = []
    if places[best] >= MUCH:
        parts.append(f"attends to {_PLACES[best]} ({places[best]:.0%})".replace("%", " %"))
    elif pair is not None and pair[2] >= PAIR:
        parts.append(f"attends from {_quote(pair[1])} to {_quote(pair[0])}")
    elif first >= MUCH:
        parts.append(f"rests on the first token ({first:.0%})".replace("%", " %"))
    if copies >= COPIES:
        parts.append("copies what it attends to")
    if erases >= COPIES:
        parts.append("suppresses what it attends to")
    return ", ".join(parts)


def _quote(token: TokenView) -> str:
    """Put a token into quotation marks: two words beside each other would be read as the sentence's own."""
    word = spell(token)
    return word if word.startswith('"') else f'"{word}"'
