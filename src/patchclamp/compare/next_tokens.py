"""How two networks differ in the next token, token by token along a text."""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from patchclamp.core.estimate import Estimate
from patchclamp.core.model_comparison import ComparedText, TokenChange
from patchclamp.core.stats import bootstrap_interval
from patchclamp.core.stimulus import Stimulus

N_CHANGES, N_TEXTS, WINDOW, N_BESIDE = 20, 3, 48, 3
"""Changes and texts that are kept, tokens of a text, and changes after each of them."""
CONTEXT = 24
"""Tokens before a change that are kept as its context."""


class NextTokens:
    """Gather over a text how two networks differ in the next token.

    Args:
        tokenizer: writes tokens out; None shows their numbers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.sums: list[tuple[float, int]] = []
        self.agreed = 0
        self.changes: dict[tuple[int, int], tuple[float, int, TokenChange]] = {}
        self.texts: list[tuple[float, int, ComparedText]] = []
        self.opening: ComparedText | None = None
        self.known: set[str] = set()
        self.n = 0

    def add(self, stimulus: Stimulus, first: Tensor, second: Tensor) -> None:
        """Take in one stimulus and both networks' logits, ``(position, token)``.

        Source: the divergence is that of Kullback & Leibler (1951), Ann. Math. Statist. 22, 79.
        """
        logp, logq = first.float().log_softmax(-1), second.float().log_softmax(-1)
        p, q = logp.exp(), logq.exp()
        divergence = divergence_of(logp, logq)
        counted = np.asarray(stimulus.counted)
        values = divergence.cpu().numpy().astype(np.float64)
        self.sums.append((float(values[counted].sum()), int(counted.sum())))
        self.agreed += int((logp.argmax(-1) == logq.argmax(-1)).cpu().numpy()[counted].sum())
        number = self.n
        self.n += 1
        if stimulus.id in self.known or not counted.any():
            return
        self.known.add(stimulus.id)
        apart = (q - p).abs()
        top = apart.topk(min(N_BESIDE, apart.shape[-1]), -1)
        sizes = top.values[:, 0].cpu().numpy()
        sizes[~counted] = 0
        for at in np.argsort(-sizes, kind="stable")[:N_CHANGES]:
            size, token = float(sizes[at]), int(top.indices[at, 0])
            # One entry for a token after another: a text that repeats itself would fill the list.
            pair = (int(stimulus.ids[at]), token)
            if size > self.changes.get(pair, (0.0,))[0]:
                self.changes[pair] = (size, -number, self._change(stimulus, number, int(at), token, p, q))
        if len(self.changes) > N_CHANGES:
            self.changes = dict(sorted(self.changes.items(), key=lambda one: one[1][:2], reverse=True)[:N_CHANGES])
        largest = int(np.where(counted, values, -1).argmax())
        if self.opening is None:
            self.opening = self._text(stimulus, number, 0, values, top.indices, p, q)
        if values[largest] > 0 and (len(self.texts) < N_TEXTS or values[largest] > self.texts[0][0]):
            start = min(max(0, largest - WINDOW // 2), max(0, len(stimulus) - WINDOW))
            text = self._text(stimulus, number, start, values, top.indices, p, q)
            _keep(self.texts, (float(values[largest]), -number, text), N_TEXTS)

    def _change(self, stimulus: Stimulus, number: int, at: int, id: int, p: Tensor, q: Tensor) -> TokenChange:
        context = "".join(self.spell(int(i)) for i in stimulus.ids[max(0, at + 1 - CONTEXT) : at + 1])
        return TokenChange(self.spell(id), id, _share(p[at, id]), _share(q[at, id]), context, number, at)

    def _text(
        self, stimulus: Stimulus, number: int, start: int, values: np.ndarray, ids: Tensor, p: Tensor, q: Tensor
    ) -> ComparedText:
        stop = min(len(stimulus), start + WINDOW)
        rows = []
        for at in range(start, stop):
            shown = [int(i) for i in ids[at] if float(abs(q[at, i] - p[at, i])) > 0]
            rows.append(
                tuple(TokenChange(self.spell(i), i, _share(p[at, i]), _share(q[at, i]), "", number, at) for i in shown)
            )
        return ComparedText(
            tuple(self.spell(int(i)) for i in stimulus.ids[start:stop]),
            tuple(int(i) for i in stimulus.ids[start:stop]),
            tuple(float(x) for x in values[start:stop]),
            tuple(rows),
            number,
            start,
        )

    def spell(self, id: int) -> str:
        """Return a token's text; its number where there is no tokenizer."""
        return f"token {id}" if self.tokenizer is None else str(self.tokenizer.spelling(id)[0])

    @property
    def n_tokens(self) -> int:
        """Tokens that were counted."""
        return sum(n for _, n in self.sums)

    @property
    def agreement(self) -> float:
        """Share of tokens after which both find the same token likeliest."""
        return self.agreed / max(self.n_tokens, 1)

    def estimate(self, seed: int) -> Estimate:
        """Return the mean divergence per token, its interval over stimuli."""
        return estimate_divergence(self.sums, seed)

    def largest_changes(self) -> tuple[TokenChange, ...]:
        """Return the tokens whose probability differs most."""
        ordered = sorted(self.changes.values(), key=lambda one: one[:2], reverse=True)
        return tuple(change for *_, change in ordered)

    def shown_texts(self) -> tuple[ComparedText, ...]:
        """Return the stretches that differ most, then the text's beginning where it is not among them."""
        texts = [text for *_, text in sorted(self.texts, key=lambda one: (-one[0], -one[1]))]
        if self.opening is not None and not any((t.stimulus, t.start) == (self.opening.stimulus, 0) for t in texts):
            texts.append(self.opening)
        return tuple(texts)


def divergence_of(logp: Tensor, logq: Tensor) -> Tensor:
    """Return KL(p ‖ q) in nats of rows of log probabilities; rounding below zero is zero."""
    return (logp.exp() * (logp - logq)).sum(-1).clamp_min(0)


def estimate_divergence(sums: Sequence[tuple[float, int]], seed: int) -> Estimate:
    """Return a mean over tokens from sums and counts of stimuli, its interval over stimuli."""
    rows = np.array([(total, n) for total, n in sums if n], dtype=np.float64).reshape(-1, 2)
    value = float(rows[:, 0].sum() / rows[:, 1].sum()) if len(rows) else 0.0
    interval = None
    if len(rows) > 1:
        interval = bootstrap_interval(
            rows, lambda some: some[:, 0].sum() / some[:, 1].sum(), n_resamples=500, seed=seed
        )
    return Estimate(value, interval, len(rows), "nats per token")


def _keep(heap: list[Any], entry: Any, most: int) -> None:
    """Keep the largest entries; of equal ones the first."""
    (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, entry)


def _share(x: Tensor) -> float:
    return round(float(x), 7)
