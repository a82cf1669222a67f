"""What the attention heads of a model attend to along a text."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.table import Matrix, Table, Tabular


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Attention(Tabular):
    """Hold attention patterns: how much each head reads at each target token from each source token.

    Args:
        subject: the model's name.
        tokens: the text's tokens.
        layers: the blocks.
        weights: ``(layer, head, target, source)``; the weights of a target sum to 1.
    """

    subject: str
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    weights: Float[np.ndarray, "layer head target source"]

    def of(self, layer: int) -> Float[np.ndarray, "head target source"]:
        """Return the patterns of one block.

        Raises:
            PatchclampError: its patterns were not read.
        """
        if layer not in self.layers:
            raise PatchclampError(
                expected=f"a block among {', '.join(map(str, self.layers))}",
                got=str(layer),
                remedy="Leave layer out to read all blocks.",
            )
        pattern: np.ndarray = self.weights[self.layers.index(layer)]
        return pattern

    def sources(self, layer: int, head: int, target: int = -1) -> list[tuple[int, str, float]]:
        """Return the sources of one target, the strongest first: position, token and weight.

        Args:
            layer: the block.
            head: one of its heads.
            target: position that attends; negative from the end.

        Returns:
            list[tuple[int, str, float]]: sources of weight above zero.

        Raises:
            PatchclampError: the block's patterns were not read, or it has no such head or position.
        """
        patterns = self.of(layer)
        n_heads, n_tokens = patterns.shape[:2]
        if not (0 <= head < n_heads and -n_tokens <= target < n_tokens):
            raise PatchclampError(
                expected=f"a head below {n_heads} and a position from {-n_tokens} to {n_tokens - 1}",
                got=f"head {head}, position {target}",
                remedy="See the lengths of weights and tokens.",
            )
        row = patterns[head, target]
        order = np.argsort(-row, kind="stable").tolist()
        return [(i, self.tokens[i], float(row[i])) for i in order if row[i] > 0]

    def table(self, top: int | None = None) -> Table:
        """Return a row for each weight above zero, the largest first."""
        flat = self.weights.ravel()
        total = int((flat > 0).sum())
        best = np.argsort(-flat, kind="stable")[: total if top is None else min(top, total)]
        places = np.unravel_index(best, self.weights.shape)
        rows = tuple(
            (self.layers[layer], head, target, self.tokens[target], source, self.tokens[source], weight)
            for layer, head, target, source, weight in zip(
                *(axis.tolist() for axis in places), flat[best].tolist(), strict=True
            )
        )
        columns = ("layer", "head", "target", "target token", "source", "source token", "weight")
        return Table(self._title, columns, rows, total)

    def heat_map(self) -> Matrix:
        """Return the mean weight of all heads that are held: a row per target, a column per source."""
        names = tuple(f"{i} {token}" for i, token in enumerate(self.tokens))
        mean = self.weights.astype(np.float64).mean((0, 1))
        return Matrix(self._title, names, names, mean, "mean weight of the heads")

    @property
    def _title(self) -> str:
        layers = f"block {self.layers[0]}" if len(self.layers) == 1 else f"{len(self.layers)} blocks"
        n_heads, n_tokens = self.weights.shape[1], len(self.tokens)
        return f"attention of {self.subject}: {layers} of {n_heads} heads, {n_tokens} tokens"
