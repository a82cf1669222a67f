"""How the logit lenses of two networks differ along a text, gathered batch by batch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from patchclamp.compare.next_tokens import divergence_of, estimate_divergence
from patchclamp.core.lens_difference import LensDifference, LensLayer, LensPlace, Likely
from patchclamp.core.stimulus import Shown

N_PLACES, N_LIKELY, CONTEXT = 3, 3, 12
"""Places that are kept of a layer, tokens of each lens there, and tokens of text before them."""

MOST_LOGITS = 2**24
"""Logits of each network that are held at once: 64 MiB."""

Lens = Callable[[np.ndarray], Tensor]
"""From ``(token, d_model)`` of the residual stream to ``(token, vocabulary)`` logits."""


class LensGathering:
    """Gather over a text how far two logit lenses are apart.

    Args:
        sites: sites of the stream of both networks, in forward order; the last are read as the networks' own answers.
        at: which of the counted tokens are read, in order.
        spell: writes a token out.

    Source: the lens is nostalgebraist's (2020); the divergence that of Kullback & Leibler (1951).
    """

    def __init__(self, sites: Sequence[Sequence[str]], at: np.ndarray, spell: Callable[[int], str]) -> None:
        self.pairs = pair_depths(*sites)
        self.at = at
        self.spell = spell
        self.seen = self.read = self.n_stimuli = 0
        self.sums: list[dict[int, tuple[float, int]]] = [{} for _ in self.pairs]
        self.agreed = [0] * len(self.pairs)
        self.places: list[dict[int, tuple[float, int, LensPlace]]] = [{} for _ in self.pairs]

    @property
    def paths(self) -> tuple[list[str], list[str]]:
        """Sites of each network that have to be recorded."""
        return [one for one, _ in self.pairs[:-1]], [other for _, other in self.pairs[:-1]]

    def add(
        self,
        batch: Sequence[Shown],
        values: Sequence[dict[str, np.ndarray]],
        logits: Sequence[Sequence[Float[Tensor, "position token"]]],
        lenses: Sequence[Lens],
    ) -> None:
        """Take in a batch.

        Args:
            batch: its stimuli.
            values: what both networks did at the sites, by path.
            logits: of every stimulus, both networks' own.
            lenses: both networks' logit lenses.

        Source: nostalgebraist (2020), *interpreting GPT: the logit lens*.

        Example:
            >>> from patchclamp.loaders import load
            >>> cat = load("organism:cat")
            >>> gathering = LensGathering([["embed", "final"]] * 2, np.arange(3), str)
            >>> shown = cat.stimuli("the old cat")
            >>> run = cat.run(shown, record="embed")
            >>> values = {"embed": run.recording["embed"].numpy()}
            >>> lens = lambda rows: cat.lens_logits(torch.from_numpy(rows))
            >>> gathering.add(shown, [values] * 2, [run.logits] * 2, [lens] * 2)
            >>> gathering.difference(0).sentence
            'Their logit lenses are the same at all 2 depths.'
        """
        counted = np.concatenate([np.asarray(one.counted) for one in batch])
        n = int(counted.sum())
        stop = int(np.searchsorted(self.at, self.seen + n))
        rows = np.flatnonzero(counted)[self.at[self.read : stop] - self.seen]
        self.read, self.seen = stop, self.seen + n
        first = self.n_stimuli
        self.n_stimuli += len(batch)
        if not len(rows):
            return
        owners = np.repeat(np.arange(len(batch)), [len(one) for one in batch])
        positions = np.concatenate([np.arange(len(one)) for one in batch])
        n_shared = min(side[0].shape[-1] for side in logits)
        n_chunks = -(-len(rows) * n_shared // MOST_LOGITS)
        for depth, sites in enumerate(self.pairs):
            last = depth == len(self.pairs) - 1
            for some in np.array_split(rows, n_chunks):
                places = [(int(k), int(at)) for k, at in zip(owners[some], positions[some], strict=True)]
                said = (
                    torch.stack([logits[side][k][at] for k, at in places])
                    if last
                    else lenses[side](values[side][site][some])
                    for side, site in enumerate(sites)
                )
                logp, logq = (x[:, :n_shared].float().log_softmax(-1) for x in said)
                self._compare(depth, batch, first, places, logp, logq)

    def _compare(
        self,
        depth: int,
        batch: Sequence[Any],
        first: int,
        places: Sequence[tuple[int, int]],
        logp: Tensor,
        logq: Tensor,
    ) -> None:
        """Take in what both lenses say at places of one depth."""
        apart = divergence_of(logp, logq).cpu().numpy().astype(np.float64)
        self.agreed[depth] += int((logp.argmax(-1) == logq.argmax(-1)).sum())
        for (k, _), size in zip(places, apart.tolist(), strict=True):
            total, n = self.sums[depth].get(first + k, (0.0, 0))
            self.sums[depth][first + k] = (total + size, n + 1)
        kept = self.places[depth]
        for row in np.argsort(-apart, kind="stable"):
            size, (k, at) = float(apart[row]), places[row]
            if not size > (min(one[0] for one in kept.values()) if len(kept) == N_PLACES else 0.0):
                break
            self._keep(
                kept, batch[k].ids[: at + 1], first + k, size, (self._likely(logp[row]), self._likely(logq[row]))
            )

    def _keep(
        self,
        kept: dict[int, tuple[float, int, LensPlace]],
        ids: np.ndarray,
        stimulus: int,
        size: float,
        likely: tuple[Likely, Likely],
    ) -> None:
        """Keep a place among those that differ most; one after each token, for a text repeats itself."""
        token = int(ids[-1])
        if size <= kept.get(token, (0.0,))[0]:
            return
        context = "".join(self.spell(int(id)) for id in ids[-CONTEXT:])
        kept[token] = (size, -stimulus, LensPlace(context, stimulus, len(ids) - 1, size, *likely))
        if len(kept) > N_PLACES:
            del kept[min(kept, key=lambda one: kept[one][:2])]

    def _likely(self, logs: Tensor) -> Likely:
        best = logs.topk(min(N_LIKELY, len(logs)))
        return tuple(
            (self.spell(id), round(p, 7))
            for id, p in zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
        )

    def difference(self, seed: int) -> LensDifference:
        """Return the difference at every depth, intervals over stimuli."""
        layers = []
        for sites, sums, agreed, places in zip(self.pairs, self.sums, self.agreed, self.places, strict=True):
            ordered = sorted(places.values(), key=lambda one: one[:2], reverse=True)
            estimate = estimate_divergence(list(sums.values()), seed)
            layers.append(LensLayer(sites, estimate, agreed / max(self.read, 1), tuple(place for *_, place in ordered)))
        return LensDifference(tuple(layers), self.read)


def pair_depths(first: Sequence[str], second: Sequence[str]) -> list[tuple[str, str]]:
    """Return each site of the first with the one of the second at the same relative depth.

    Example:
        >>> pair_depths(["in", "0", "1"], ["in", "0", "1", "2", "3"])
        [('in', 'in'), ('0', '1'), ('1', '3')]
    """
    steps = max(len(first) - 1, 1)
    return [(site, second[round(i * (len(second) - 1) / steps)]) for i, site in enumerate(first)]
