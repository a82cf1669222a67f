"""A pass over part of the text for what attention heads attend to: shares, token pairs, and patterns of examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from patchclamp.atlas.bake.read_text import TextRead
from patchclamp.core.site import Site
from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.language import LanguageModel

MOST_PAIRS = 16
"""Pairs that are kept of each head."""
LEAST = 1e-3
"""Weight from which a source counts in a pair."""
SHARES = ("first", "itself", "previous", "next", "same")


@dataclass(frozen=True)
class WantedPattern:
    """A strip of text along which one head's pattern is kept: where it begins in which stimulus, and its length."""

    unit: int
    kind: int
    rank: int
    head: int
    stimulus: int
    start: int
    length: int


@dataclass(frozen=True, eq=False)
class KeptPattern:
    """One head's pattern along a strip, in half precision.

    Args:
        weights: of causal attention the rows of the lower triangle one after the other, else all rows.
        first: weight of the text's first token, where the strip begins later; else 0.
        elsewhere: weight of all other tokens outside the strip.
    """

    weights: Float[np.ndarray, " weight"]
    first: Float[np.ndarray, " target"]
    elsewhere: Float[np.ndarray, " target"]


@dataclass(frozen=True, eq=False)
class TokenPairs:
    """Which token a head attends to most, by the token that attends: ids, mean weight, how often; most in sum first."""

    source: Int[np.ndarray, " pair"]
    target: Int[np.ndarray, " pair"]
    weight: Float[np.ndarray, " pair"]
    n: Int[np.ndarray, " pair"]


@dataclass(frozen=True, eq=False)
class BlockAttention:
    """What the heads of one block attend to.

    Args:
        n_targets: tokens whose attention was measured: counted ones, the first of a text left out.
        shares: ``(head, share)`` mean attention per target, by ``SHARES``, which exclude one another in their order:
            on the text's first token, on itself, on the token before, on the next one, on others of the same text.
        pairs: by head.
        patterns: by what was asked for.
    """

    n_targets: int
    shares: Float[np.ndarray, "head share"]
    pairs: tuple[TokenPairs, ...]
    patterns: Mapping[WantedPattern, KeptPattern]


def measure_attention(
    model: LanguageModel, text: TextRead, sites: Sequence[Site], wanted: Mapping[str, Sequence[WantedPattern]]
) -> dict[str, BlockAttention]:
    """Return what heads attend to over a text.

    For each target token the source with the largest weight is counted, the target itself and the text's first token
    left out: heads rest on these. Every n-th stimulus is measured, n such that at most ``MOST_MEASURED`` tokens are.

    Args:
        model: the subject.
        text: what was read of the text.
        sites: sites of heads, ``blocks.N.attn.z/heads``.
        wanted: by site, the strips along which patterns are kept.

    Returns:
        dict[str, BlockAttention]: by site.

    Cost: one forward pass over the measured stimuli and those that hold wanted strips, attention computed step by step;
    memory of 12 bytes per measured token and head.
    """
    paths = {f"blocks.{site.layer}.attn.pattern": site.path for site in sites}
    causal = model.covering_family().causal
    states = {site.path: _BlockState(site.width, causal, wanted.get(site.path, ())) for site in sites}
    needed = {one.stimulus for asked in wanted.values() for one in asked}
    numbered = sorted(needed | set(text.measured))
    for first in range(0, len(numbered), text.batch_size):
        numbers = numbered[first : first + text.batch_size]
        shown = [text.measured[number] if number in text.measured else text.kept(number) for number in numbers]

        def see(path: str, pattern: Tensor, numbers=numbers, shown=shown) -> None:
            row = 0
            for number, stimulus in zip(numbers, shown, strict=True):
                n = len(stimulus)
                own = pattern[row : row + n, :, :n].float().cpu()
                states[paths[path]].see(number, stimulus, own, number in text.measured)
                row += n

        model.watch(shown, list(paths), see)
    return {path: state.result() for path, state in states.items()}


@dataclass
class _BlockState:
    """What is added up of one block."""

    n_heads: int
    causal: bool
    wanted: Sequence[WantedPattern]
    n_targets: int = 0
    codes: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    kept: dict[WantedPattern, KeptPattern] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sums = np.zeros((self.n_heads, len(SHARES)))
        self.strips: dict[int, list[WantedPattern]] = {}
        for one in self.wanted:
            self.strips.setdefault(one.stimulus, []).append(one)

    def see(
        self, number: int, stimulus: Stimulus, pattern: Float[Tensor, "target head source"], measured: bool
    ) -> None:
        """Take in one stimulus."""
        for one in self.strips.get(number, ()):
            self.kept[one] = self._strip(one, pattern[:, one.head])
        targets = np.flatnonzero(stimulus.counted)
        targets = targets[targets > 0]
        if measured and len(targets):
            self._measure(torch.from_numpy(stimulus.ids.astype(np.int64)), torch.from_numpy(targets), pattern)

    def _measure(self, ids: Tensor, at: Tensor, pattern: Tensor) -> None:
        own = pattern[at]  # (target, head, source)
        n = len(at)
        first, itself = own[:, :, 0], own[torch.arange(n), :, at]
        # The token before the second one is the first, which counts as that.
        previous = own[torch.arange(n), :, at - 1].masked_fill((at == 1)[:, None], 0.0)
        after = torch.zeros_like(first)
        same = ids[None] == ids[at, None]  # (target, source)
        same[:, 0] = same[torch.arange(n), at] = same[torch.arange(n), at - 1] = False
        if not self.causal:
            inside = at + 1 < len(ids)
            after[inside] = own[inside, :, at[inside] + 1]
            same[inside, at[inside] + 1] = False
        repeated = torch.bmm(own, same[:, :, None].float())[..., 0]
        shares = torch.stack([first, itself, previous, after, repeated], 2)  # (target, head, share)
        self.sums += shares.double().sum(0).numpy()
        own[torch.arange(n), :, at] = 0.0  # a copy; the token itself is no source of a pair
        weight, source = own[:, :, 1:].max(2)  # (target, head)
        self.codes.append((ids[source + 1] * 2**32 + ids[at, None]).numpy())
        self.weights.append(weight.numpy())
        self.n_targets += n

    def _strip(self, one: WantedPattern, pattern: Float[Tensor, "target source"]) -> KeptPattern:
        inside = slice(one.start, one.start + one.length)
        square = pattern[inside, inside].numpy()
        first = pattern[inside, 0].numpy() if one.start else np.zeros(one.length, dtype=np.float32)
        elsewhere = np.maximum(pattern[inside].sum(1).numpy() - square.sum(1) - first, 0.0)
        weights = square[np.tril_indices(one.length)] if self.causal else square.ravel()
        return KeptPattern(weights.astype("<f2"), first.astype("<f2"), elsewhere.astype("<f2"))

    def result(self) -> BlockAttention:
        """Return shares, pairs and patterns."""
        shares = self.sums / max(self.n_targets, 1)
        codes = np.concatenate(self.codes) if self.codes else np.zeros((0, self.n_heads), dtype=np.int64)
        weights = np.concatenate(self.weights) if self.weights else np.zeros((0, self.n_heads), dtype=np.float32)
        pairs = tuple(_strongest(codes[:, h], weights[:, h]) for h in range(self.n_heads))
        return BlockAttention(self.n_targets, shares, pairs, self.kept)


def _strongest(codes: Int[np.ndarray, " target"], weights: Float[np.ndarray, " target"]) -> TokenPairs:
    """Return the pairs with the largest sums of weights."""
    codes, weights = codes[weights >= LEAST], weights[weights >= LEAST]
    pair, which, n = np.unique(codes, return_inverse=True, return_counts=True)
    sums = np.bincount(which, weights=weights.astype(np.float64), minlength=len(pair))
    best = np.lexsort((pair, -sums))[:MOST_PAIRS]
    return TokenPairs(pair[best] >> 32, pair[best] & (2**32 - 1), sums[best] / n[best], n[best])
