"""Fold a corpus into a state: here batch by batch, elsewhere piece by piece, with the same bytes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from patchclamp.core.stimulus import Shown
from patchclamp.engines.engine import Engine, Serial, Tick
from patchclamp.engines.plan import Piece, Start, cut_pieces
from patchclamp.subjects.corpora import Batches


@runtime_checkable
class Foldable(Protocol):
    """What a corpus is folded into: it takes batches as they come, or parts that were computed apart from it."""

    @property
    def start(self) -> Start:
        """Where the next batch begins."""
        ...

    def begin(self, batch: Sequence[Shown]) -> None:
        """Say which stimuli the values that come next belong to."""
        ...

    def see(self, path: str, values: Tensor) -> None:
        """Take in one site's values of the batch."""
        ...

    def parts(self) -> Callable[[Start, Start], Any]:
        """Return what makes an empty part for the batches between two places; it travels to where these are shown."""
        ...

    def trim(self, start: Start, end: Start) -> Any:
        """Drop what a part for the stimuli between two places cannot have filled, before it travels; return it."""
        ...

    def merge(self, part: Any) -> None:
        """Take in a part that begins where this ends: the state is then what the part's batches would have made it."""
        ...


State = TypeVar("State", bound=Foldable)


@dataclass(frozen=True, eq=False)
class Part(Generic[State]):
    """Compute what a piece adds to a state.

    Args:
        model: the subject.
        paths: sites that are read.
        empty: the state's own part for a piece, without values.
    """

    model: Any
    paths: tuple[str, ...]
    empty: Callable[[Start, Start], State]

    def __call__(self, piece: Piece, tick: Tick) -> State:
        """Show a piece to the subject."""
        part = self.empty(piece.start, piece.end)
        for batch in piece.batches:
            part.begin(batch)
            self.model.watch(batch, list(self.paths), part.see)
            tick(sum(map(len, batch)))
        return part.trim(piece.start, piece.end)


def fold(
    model: Any,
    batches: Batches,
    paths: Sequence[str],
    state: Foldable,
    *,
    engine: Engine,
    piece: int,
    after: Callable[[], None],
) -> None:
    """Show what is left of a corpus to a subject, and fold what its sites do into a state.

    Args:
        model: the subject, with a ``watch``.
        batches: the corpus.
        paths: sites that are read.
        state: where it goes on.
        engine: where the pieces are computed.
        piece: stimuli of a piece, a multiple of the batch size; a state that was kept in the middle of a piece goes on.
        after: called whenever the state is whole, after a batch here and after a piece elsewhere.
    """

    def take(batch: Sequence[Shown]) -> None:
        state.begin(batch)
        model.watch(batch, list(paths), state.see)
        after()

    coming = batches.start_at(state.start.stimuli)
    for batch in coming if isinstance(engine, Serial) else _rest_of_piece(coming, state, piece):
        take(batch)
    pieces = cut_pieces(coming, lambda at, _: not at.stimuli % piece, state.start)
    for part in engine.map(Part(model, tuple(paths), state.parts()), pieces, lambda _: None):
        state.merge(part)
        after()


def _rest_of_piece(coming: Iterator[tuple[Shown, ...]], state: Foldable, piece: int) -> Iterator[tuple[Shown, ...]]:
    """Yield the batches up to where the piece ends in whose middle a state was kept."""
    while state.start.stimuli % piece and (batch := next(coming, None)) is not None:
        yield batch
