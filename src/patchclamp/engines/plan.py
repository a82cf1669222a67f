"""Cut a corpus into pieces, each some of its batches, before the first of them is computed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from patchclamp.core.stimulus import Shown

LEAST_BATCHES, MOST_PIECES = 8, 1024
"""Batches of a piece at least, and pieces of a pass at most."""


class Start(NamedTuple):
    """Where in a corpus a piece begins: the stimuli, tokens and counted tokens before it."""

    stimuli: int = 0
    tokens: int = 0
    counted: int = 0

    def after(self, batch: Sequence[Shown]) -> "Start":
        """Return where the next batch begins.

        Example:
            >>> import numpy as np
            >>> from patchclamp.core.stimulus import Stimulus
            >>> Start(4, 10, 10).after([Stimulus.of(np.arange(3))])
            Start(stimuli=5, tokens=13, counted=13)
        """
        counted = sum(int(one.counted.sum()) for one in batch)
        return Start(self.stimuli + len(batch), self.tokens + sum(map(len, batch)), self.counted + counted)


@dataclass(frozen=True, eq=False)
class Piece:
    """Batches that are computed one after the other by one worker.

    Args:
        start: where it begins.
        end: where the next begins.
        batches: what is shown, batch by batch.
    """

    start: Start
    end: Start
    batches: tuple[tuple[Shown, ...], ...]

    @property
    def tokens(self) -> int:
        """How many tokens it shows; of images their number."""
        return self.end.tokens - self.start.tokens


def cut_pieces(
    batches: Iterable[tuple[Shown, ...]], ends: Callable[[Start, tuple[Shown, ...]], bool], start: Start
) -> Iterator[Piece]:
    """Yield the pieces of a corpus, of which one is held at a time; the last ends with the batches.

    Args:
        batches: from where the first piece begins.
        ends: whether a piece ends with a batch, given where the next would begin; it is asked once a batch, in order.
        start: where the first piece begins.

    Yields:
        Piece: in their order.
    """
    held: list[tuple[Shown, ...]] = []
    begun, at = start, start
    for batch in batches:
        held.append(batch)
        at = at.after(batch)
        if ends(at, batch):
            yield Piece(begun, at, tuple(held))
            held, begun = [], at
    if held:
        yield Piece(begun, at, tuple(held))


def stimuli_of_piece(n_stimuli: int, batch_size: int) -> int:
    """Return how many stimuli the pieces of a fold have: a thousandth of the corpus, and eight batches at least.

    Sums are rounded piece by piece, so that this number decides bytes; it is read from the plan alone.

    Example:
        >>> stimuli_of_piece(100, 8), stimuli_of_piece(1_000_000, 8)
        (64, 984)
    """
    n_batches = -(-n_stimuli // batch_size)
    return batch_size * max(LEAST_BATCHES, -(-n_batches // MOST_PIECES))
