"""The key of a unit over a run of positions, or at one that is counted from the end."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.intervention import Span
from patchclamp.core.unit import UnitKey


@checked
@dataclass(frozen=True, order=True)
class SpanKey:
    """Name a unit over a run of positions, or at one that is counted from the end.

    Args:
        unit: the unit, without position.
        span: the positions, as ``Span`` writes them: ``-1``, ``3:5``, ``-4:``.

    Raises:
        PatchclampError: a unit with a position of its own, or a span that is one position from the start, or no span.

    Example:
        >>> key = SpanKey.parse("blocks.5.attn.z/heads/3@-4:")
        >>> key.unit.index, key.span, SpanKey.from_url(key.to_url()) == key
        (3, '-4:', True)
    """

    unit: UnitKey
    span: str

    def __post_init__(self) -> None:
        placed = self.unit.position is not None or self.unit.step is not None
        span = Span.parse(self.span)
        if placed or span.steps or str(span) != self.span or self.span.isdigit():
            raise PatchclampError(
                expected="a unit without position, and a span such as -1, 3:5 or -4:",
                got=f"{self.unit} at {self.span}",
                remedy="A single position from the start is the unit's own: UnitKey.parse('SITE/BASIS/INDEX@3').",
            )

    @classmethod
    def parse(cls, text: str) -> "SpanKey":
        """Read a key; the inverse of ``str``.

        Raises:
            PatchclampError: the text breaks the grammar.
        """
        unit, _, span = text.partition("@")
        return cls(UnitKey.parse(unit), span)

    def __str__(self) -> str:
        return f"{self.unit}@{self.span}"

    def to_url(self) -> str:
        """Return the key as a URL path, percent-encoded where a server needs it."""
        return quote(str(self), safe="/@")

    @classmethod
    def from_url(cls, path: str) -> "SpanKey":
        """Read a key from a URL path; the inverse of ``to_url``."""
        return cls.parse(unquote(path))
