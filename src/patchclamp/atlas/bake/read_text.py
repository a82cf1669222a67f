"""One reading of a text for all that an atlas keeps of it: stimuli with examples, samples, counts of tokens."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from patchclamp.core.stimulus import Stimulus
from patchclamp.subjects.corpora import Batches

MOST_SCORED, MOST_MEASURED = 6144, 8192
"""Counted tokens on which patterns are scored, about, and tokens whose attention is measured, spread over the text."""


@dataclass(frozen=True, eq=False)
class TextRead:
    """What was read of a text.

    Args:
        lengths: ``(stimulus,)`` tokens of each.
        counts: how often each token stands in it where statistics count it, by id.
        scored: stimuli on which patterns are scored.
        measured: stimuli whose attention is measured, by their number.
        batch_size: stimuli per forward pass.
        kept: gives a stimulus again in which an example stands.
    """

    lengths: Int[np.ndarray, " stimulus"]
    counts: Counter[int]
    scored: tuple[Stimulus, ...]
    measured: dict[int, Stimulus]
    batch_size: int
    kept: Callable[[int], Stimulus] = field(repr=False)


def read_text(
    batches: Batches, used: set[int], keep: Callable[[int, Stimulus], None], kept: Callable[[int], Stimulus]
) -> TextRead:
    """Go through a text once.

    Args:
        batches: the text.
        used: numbers of the stimuli in which examples stand.
        keep: called with the number of each of these, and the stimulus.
        kept: gives it again.

    Returns:
        TextRead: every n-th stimulus for each of the samples, n such that they hold as many tokens as asked for.

    Cost: the tokens of the text are made once more; memory of the samples, and 8 bytes per stimulus.
    """
    step_scored, step_measured = (spread(batches.n_tokens, most) for most in (MOST_SCORED, MOST_MEASURED))
    lengths = np.zeros(batches.n_stimuli, dtype=np.int64)
    counts: Counter[int] = Counter()
    scored: list[Stimulus] = []
    measured: dict[int, Stimulus] = {}
    number = 0
    for batch in batches:
        ids: list[np.ndarray] = []
        for stimulus in batch:
            assert isinstance(stimulus, Stimulus)
            lengths[number] = len(stimulus)
            ids.append(stimulus.ids[stimulus.counted])
            if number in used:
                keep(number, stimulus)
            if number % step_scored == 0:
                scored.append(stimulus)
            if number % step_measured == 0:
                measured[number] = stimulus
            number += 1
        counts.update(np.concatenate(ids).tolist())
    return TextRead(lengths, counts, tuple(scored), measured, batches.batch_size, kept)


def spread(n_tokens: int, most: int) -> int:
    """Return each how manieth stimulus is taken of a text, so that about ``most`` tokens are.

    Example:
        >>> spread(100_000, 6144), spread(500, 6144)
        (17, 1)
    """
    return max(1, -(-n_tokens // most))
