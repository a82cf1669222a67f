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
AT_ONCE = 4096
"""Rows that are held in float32 at once."""


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

    Cost: a pass over the unembedding, and one of its rows per token of ``ids``, ``AT_ONCE`` in float32 at once.
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
    """The cosines of unembedding rows, their mean taken off."""

    def __init__(self, rows: Float[Tensor, "token d_model"]) -> None:
        self.rows = rows
        # A product: sums over the first axis are many times slower in half precision.
        sums = [part.new_ones(1, len(part)) @ part for part in rows.split(AT_ONCE)]
        self.mean = torch.cat(sums).float().sum(0) / len(rows)

    def of(self, ids: Int[Tensor, "unit rank"]) -> Float[Tensor, "unit rank"]:
        """Return the cosine of each token's row with that of the first of its line."""
        found = []
        for part in ids.to(self.rows.device).split(AT_ONCE):
            first = self._direction(part[:, 0])
            found.append(torch.stack([(self._direction(column) * first).sum(1) for column in part.T], 1))
        return torch.cat(found).cpu()

    def quantile(self, level: float) -> float:
        """Return a quantile of the cosines of random pairs of different tokens."""
        draw, n = np.random.default_rng(0), len(self.rows)
        first = draw.integers(n, size=PAIRS)
        pairs = np.stack([first, (first + draw.integers(1, max(2, n), size=PAIRS)) % n], 1)
        return float(self.of(torch.as_tensor(pairs))[:, 1].quantile(level))

    def _direction(self, ids: Int[Tensor, " unit"]) -> Float[Tensor, "unit d_model"]:
        return torch.nn.functional.normalize(self.rows[ids].float() - self.mean, dim=1)
