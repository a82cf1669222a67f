"""Who writes to a network's residual stream, and who reads it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from patchclamp.core.errors import PatchclampError
from patchclamp.core.keys import EdgeIndex

SLOTS = ("q", "k", "v")
"""What a head reads the stream for."""


@dataclass(frozen=True)
class EdgeMap:
    """Say which edges a network has: from each writer to each reader that comes after it.

    Writers are the embedding, every head and every MLP, in forward order. Readers are the query, key and value of every
    head, the MLPs and the logits; a reader reads the first so many writers. Keys and values are those of key-value
    heads, as many as there are. Edges are counted reader by reader, writers in order within.

    Args:
        n_layers: blocks.
        n_heads: query heads of a block.
        n_kv_heads: its key-value heads.
        parallel: attention and MLP of one block read the same stream.

    Example:
        >>> gpt2 = EdgeMap(12, 12, 12)
        >>> len(gpt2), gpt2.parts[-1]
        (32491, ('blocks.11.mlp.write/whole/0', 'final/whole/0'))
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False

    def __len__(self) -> int:
        return int(self.seen.sum())

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """Their keys, in forward order."""
        names = ["embed/whole/0"]
        for layer in range(self.n_layers):
            names += [f"blocks.{layer}.attn.z/heads/{h}" for h in range(self.n_heads)]
            names.append(f"blocks.{layer}.mlp.write/whole/0")
        return tuple(names)

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """Their keys, in forward order."""
        names = []
        for layer in range(self.n_layers):
            for slot in SLOTS:
                n = self.n_heads if slot == "q" else self.n_kv_heads
                names += [f"blocks.{layer}.attn.{slot}/heads/{h}" for h in range(n)]
            names.append(f"blocks.{layer}.mlp.pre/whole/0")
        return (*names, "final/whole/0")

    @cached_property
    def seen(self) -> Int[np.ndarray, " reader"]:
        """How many writers each reader reads: the first so many."""
        counts: list[int] = []
        for layer in range(self.n_layers):
            before = self.heads(layer).start
            counts += [before] * (self.n_heads + 2 * self.n_kv_heads)
            counts.append(before if self.parallel else before + self.n_heads)
        return np.array([*counts, len(self.writers)])

    @cached_property
    def ends(self) -> Int[np.ndarray, "edge 2"]:
        """Places of every edge's writer and reader."""
        return np.concatenate([np.stack([np.arange(n), np.full(n, r)], 1) for r, n in enumerate(self.seen)])

    def keys(self, subject: str = "", n_places: int | None = None) -> EdgeIndex:
        """Return the keys of every edge, as scores need them.

        Args:
            subject: slug that keys begin with.
            n_places: positions, where an edge stands at each by itself: edge by edge, position by position.
        """
        ends = self.ends + np.array([0, len(self.writers)])
        units = [*self.writers, *self.readers]
        if n_places is not None:
            units = [f"{unit}@{place}" for unit in units for place in range(n_places)]
            ends = (ends[:, None] * n_places + np.arange(n_places)[None, :, None]).reshape(-1, 2)
        return EdgeIndex(units, ends, subject)

    @cached_property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Keys of every edge's writer and reader."""
        return tuple((self.writers[u], self.readers[v]) for u, v in self.ends)

    @cached_property
    def _places(self) -> dict[tuple[str, str], int]:
        return {part: i for i, part in enumerate(self.parts)}

    def index(self, writer: str, reader: str) -> int:
        """Return an edge's place.

        Raises:
            PatchclampError: there is no such edge.
        """
        if (writer, reader) not in self._places:
            raise PatchclampError(
                expected=f"one of {len(self):,} edges, such as {' → '.join(self.parts[0])}",
                got=f"{writer} → {reader}",
                remedy="A reader reads what was written before it.",
            )
        return self._places[writer, reader]

    def heads(self, layer: int) -> slice:
        """Return the places of a block's heads among the writers."""
        first = 1 + layer * (self.n_heads + 1)
        return slice(first, first + self.n_heads)

    def mlp(self, layer: int) -> int:
        """Return the place of a block's MLP among the writers."""
        return 1 + layer * (self.n_heads + 1) + self.n_heads

    def queries(self, layer: int) -> slice:
        """Return the places of a block's queries, keys and values among the readers; its MLP is the next."""
        n = self.n_heads + 2 * self.n_kv_heads
        return slice(layer * (n + 1), layer * (n + 1) + n)

    def slots(self, layer: int) -> dict[str, slice]:
        """Return the places of a block's queries, of its keys and of its values, by the path of their site."""
        first = self.queries(layer).start
        ends = np.cumsum([first, self.n_heads, self.n_kv_heads, self.n_kv_heads])
        return {f"blocks.{layer}.attn.{slot}": slice(int(ends[i]), int(ends[i + 1])) for i, slot in enumerate(SLOTS)}

    def stream(self, layer: int | None, *, mlp: bool = False) -> str:
        """Return the site of the stream that a block's attention reads, or its MLP; without a block the logits."""
        if layer is None:
            return f"blocks.{self.n_layers - 1}.resid_out"
        return f"blocks.{layer}.{'resid_mid' if mlp and not self.parallel else 'resid_in'}"

    def dense(self, kept: Bool[np.ndarray, "subset edge"]) -> Bool[np.ndarray, "subset reader writer"]:
        """Lay marks of edges out by reader and writer; False where there is no edge."""
        matrix = np.zeros((len(kept), len(self.readers), len(self.writers)), dtype=bool)
        matrix[:, self.ends[:, 1], self.ends[:, 0]] = kept
        return matrix
