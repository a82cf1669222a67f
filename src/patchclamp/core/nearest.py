"""The name that was probably meant, among those that there are."""

import difflib
from collections.abc import Iterable

LONGEST = 200
"""Characters of a name that are compared: the time grows with their square."""


def find_nearest(name: str, names: Iterable[str], n: int = 1, *, cutoff: float = 0.6) -> list[str]:
    """Return the names that are most like one, the most alike first; none where none is alike.

    Args:
        name: what was typed.
        names: those that there are.
        n: how many at most.
        cutoff: how alike they must be, from 0 to 1.

    Returns:
        list[str]: the names.

    Source: Ratcliff and Metzener (1988), *Pattern Matching: The Gestalt Approach*, as ``difflib`` has it.

    Cost: names × characters², some 20 µs a name.

    Example:
        >>> find_nearest("explane", ["info", "explain", "patch"])
        ['explain']
    """
    return difflib.get_close_matches(name[:LONGEST], list(names), n=n, cutoff=cutoff)
