"""Which tokens stand for one concept: forms of one word, or tokens that the unembedding reads alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from patchclamp.describe.rules import stem

PAIRS, ALIKE = 4096, 0.99
"""Random pairs of tokens, and the quantile of their cosines beyond which two tokens are read alike."""
AT_ONCE = 256
"""Units whose tokens' rows are held at once."""


def share_concept(
    subject: Any, words: Sequence[str], ids: Int[np.ndarray, "unit rank"]
) -> Bool[np.ndarray, "unit rank"]:
    """Return which tokens of each row are of the concept of its first, itself included.

    Two tokens are of one concept if they are forms of one word, or if the cosine of their unembedding rows, the mean
    row taken off, is beyond 99 % of those of random pairs of tokens. Where no weight gives the rows, words alone count.

    Args:
        subject: a language model.
        words: ``(token,)`` what its tokens are called.
        ids: tokens, −1 where there are fewer.

    Returns:
        Bool[np.ndarray, "unit rank"]: of each token; False where there is none.

    Source: ours; 2501.02688 asks for likeliest tokens that form one concept, and gives no rule.

    Cost: a pass over the unembedding, and one of its rows per token of ``ids``, of ``AT_ONCE`` units at once.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> words = [cat.answer_name(i) for i in range(cat.n_answers)]
        >>> share_concept(cat, words, np.array([[5, 5, -1]])).tolist()
        [[True, True, False]]
    """
    met, place = np.unique(np.maximum(ids, 0), return_inverse=True)
    texts = [stem(words[i]) or words[i] for i in met]
    families = np.unique(texts, return_inverse=True)[1][place].reshape(ids.shape)
    kin: np.ndarray = families == families[:, :1]
    rows = subject.unembedding_rows()
    if rows is not None and ids.shape[1] > 1:
        with torch.no_grad():
            cosines = _Cosines(rows)
            kin |= cosines.of(torch.as_tensor(np.maximum(ids, 0))).numpy() > cosines.quantile(ALIKE)
    return kin & (ids >= 0)


class _Cosines:
    """The cosines of unembedding rows u, their mean m taken off: (u·v − m·u − m·v + m·m) / |u − m| |v − m|."""

    def __init__(self, rows: Float[Tensor, "token d_model"]) -> None:
        self.rows = rows
        # Products: sums over the first axis are many times slower in half precision.
        sums = [part.new_ones(1, len(part)) @ part for part in rows.split(AT_ONCE)]
        mean = torch.cat(sums).float().sum(0) / len(rows)
        self.along = (rows @ mean.to(rows.dtype)).float()
        self.mean = mean @ mean
        squares = torch.cat([part.float().square().sum(1) for part in rows.split(AT_ONCE)])
        self.sizes = (squares - 2 * self.along + self.mean).clamp(min=torch.finfo(torch.float32).tiny).sqrt()

    def of(self, ids: Int[Tensor, "unit rank"]) -> Float[Tensor, "unit rank"]:
        """Return the cosine of each token's row with that of the first of its line."""
        ids = ids.to(self.rows.device)
        first = ids[:, :1]
        parts = ids.split(AT_ONCE)
        dots = torch.cat([torch.einsum("nkd,nd->nk", self.rows[part], self.rows[part[:, 0]]).float() for part in parts])
        centred = dots - self.along[ids] - self.along[first] + self.mean
        return (centred / (self.sizes[ids] * self.sizes[first])).cpu()

    def quantile(self, level: float) -> float:
        """Return a quantile of the cosines of random pairs of different tokens."""
        draw, n = np.random.default_rng(0), len(self.rows)
        first = draw.integers(n, size=PAIRS)
        pairs = np.stack([first, (first + draw.integers(1, max(2, n), size=PAIRS)) % n], 1)
        return float(self.of(torch.as_tensor(pairs))[:, 1].quantile(level))
