"""What an engine is, and the one that computes in this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from patchclamp.engines.plan import Piece

Result = TypeVar("Result")
Tick = Callable[[int], None]
"""Called with the number of tokens that were computed since the last call."""
Work = Callable[[Piece, Tick], Result]
"""What is computed of a piece: a function of the piece alone, so that whoever computes it gives the same bytes."""


@runtime_checkable
class Engine(Protocol):
    """Compute the pieces of a plan, wherever; results come in the plan's order.

    An engine is a context manager: what it started ends with the context.
    """

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def workers(self) -> int:
        """How many compute at once."""
        ...

    def share(self, subject: Any, load: Callable[[], Any]) -> None:
        """Say how another process gets a subject: ``load`` makes it there; without a word the subject is sent."""
        ...

    def map(self, work: Work[Result], pieces: Iterable[Piece], tick: Tick) -> Iterator[Result]:
        """Yield what ``work`` gives of every piece, in the order of the pieces, each exactly once.

        Args:
            work: what is computed; it holds what it needs, the subject among it.
            pieces: in order; they are read as they are needed.
            tick: called as tokens are computed.

        Yields:
            Result: of each piece.

        Raises:
            PatchclampError: as ``work`` raises it, or workers that die again and again.
        """
        ...

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *_: Any) -> None: ...


class Serial:
    """Compute one piece after the other in this process.

    Example:
        >>> from patchclamp.engines.plan import Start
        >>> piece = Piece(Start(), Start(), ())
        >>> list(Serial().map(lambda piece, tick: len(piece.batches), [piece, piece], lambda n: None))
        [0, 0]
    """

    name = "serial"
    workers = 1

    def share(self, _subject: Any, _load: Callable[[], Any]) -> None:
        """Share nothing: the subject is here."""

    def map(self, work: Work[Result], pieces: Iterable[Piece], tick: Tick) -> Iterator[Result]:
        """Yield what ``work`` gives of every piece."""
        return (work(piece, tick) for piece in pieces)

    def __enter__(self) -> "Serial":
        return self

    def __exit__(self, *_: Any) -> None:
        """End nothing: nothing was started."""
