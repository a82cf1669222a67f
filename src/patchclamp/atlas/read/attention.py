"""What attention heads attend to over some tokens: as the base keeps it, or as an attached model computes it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from patchclamp.atlas.read.responses import Source


@dataclass(frozen=True)
class HeadPattern:
    """The attention of one head over the tokens shown.

    Args:
        key: the head's key.
        head: its number in the block.
        rows: for each token, as target, the weights of the tokens shown that it can attend to, from the first one;
            shorter rows than there are tokens end where no token may be attended to.
        first: for each target the weight of the text's first token, where that one is not among those shown; else 0.
        elsewhere: for each target the weight of all other tokens that are not shown.
    """

    key: str
    head: int
    rows: list[list[float]]
    first: list[float]
    elsewhere: list[float]


@dataclass(frozen=True)
class AttentionPage:
    """Where the heads of one block attend over some tokens.

    Args:
        layer: the block.
        tokens: the tokens' text.
        ids: their ids.
        special: indices of tokens that no statistics count.
        bytes: indices of tokens that are parts of characters; their text is their bytes in hex.
        start: position of the first token shown in its text.
        mark: index of the token at which an example was chosen; None elsewhere.
        heads: one pattern per head asked for.
        source: where this comes from.
    """

    layer: int
    tokens: list[str]
    ids: list[int]
    special: list[int]
    bytes: list[int]
    start: int
    mark: int | None
    heads: list[HeadPattern]
    source: Source


def head_pattern(
    key: str,
    head: int,
    weights: Float[np.ndarray, "target source"],
    first: Sequence[float],
    elsewhere: Sequence[float],
    *,
    causal: bool,
) -> HeadPattern:
    """Return a pattern as a page shows it: four decimals, and of causal attention nothing above the diagonal.

    Returns:
        HeadPattern: ready for JSON.

    Example:
        >>> head_pattern("a/heads/0", 0, np.array([[1.0, 0.0], [0.25, 0.75]]), [0, 0], [0, 0], causal=True).rows
        [[1.0], [0.25, 0.75]]
    """
    rounded = np.round(np.asarray(weights, dtype=np.float64), 4).tolist()
    return HeadPattern(
        key=key,
        head=head,
        rows=[row[: i + 1] if causal else row for i, row in enumerate(rounded)],
        first=[round(float(x), 4) for x in first],
        elsewhere=[max(round(float(x), 4), 0.0) for x in elsewhere],
    )
