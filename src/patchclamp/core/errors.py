"""Errors in three parts: what was expected, what came, what to do."""


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

    def to_json(self) -> dict[str, str]:
        """Return the three parts as a JSON-ready mapping."""
        return {"expected": self.expected, "got": self.got, "remedy": self.remedy}


class CannotIntervene(PatchclampError):
    """The subject, or this place in it, can be recorded but not changed."""


class Damaged(PatchclampError):
    """A file on disk is not what its manifest says it is."""


class PatchclampWarning(UserWarning):
    """Something was done, and does less than its name may promise."""
