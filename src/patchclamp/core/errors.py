"""What was expected, what came, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


class PatchclampError(Exception):
    """Say what was expected, what came instead, and what to do about it.

    Args:
        expected: what the call needed, in words.
        got: what it was given.
        remedy: the next thing to type or change.

    Example:
        >>> print(PatchclampError(expected="a model folder", got="'nowhere'", remedy="Check the path."))
        expected a model folder; got 'nowhere'. Check the path.
    """

    def __init__(self, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"expected {expected}; got {got}. {remedy}")
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process makes it anew."""
        return partial(type(self), **self.to_json()), ()

    def to_json(self) -> dict[str, str]:
        """Return the three parts as a JSON-ready mapping."""
        return {"expected": self.expected, "got": self.got, "remedy": self.remedy}


class CannotIntervene(PatchclampError):
    """The subject, or this place in it, can be recorded but not changed."""


class Damaged(PatchclampError):
    """A file on disk is not what its manifest says it is."""


@contextmanager
def report_damage(place: object, remedy: str) -> Iterator[None]:
    """Report values that are not such as patchclamp writes as damage, wherever a reader stumbles over them.

    Who changes a folder can compute its hashes anew, so that what is read may be of any type, length and range.

    Raises:
        Damaged: in the place of what Python raises.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as problem:
        raise Damaged(
            expected="values such as patchclamp writes",
            got=f"others in {place} ({type(problem).__name__}: {problem})"[:300],
            remedy=remedy,
        ) from problem


class PatchclampWarning(UserWarning):
    """Something works, but does less than its name may promise."""


def lacks_memory(problem: BaseException) -> bool:
    """Say whether memory ran out, which Python, PyTorch and the operating system say in words of their own.

    Example:
        >>> lacks_memory(OSError(12, "Cannot allocate memory")), lacks_memory(ValueError("no such thing"))
        (True, False)
    """
    seen: BaseException | None = problem
    while seen is not None:
        text = str(seen).lower()
        if isinstance(seen, MemoryError) or any(words in text for words in _NO_MEMORY):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "unable to allocate", "paging file is too small")
