"""Text that cannot command a terminal."""

import re
from typing import Any

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    r"""Write out control characters and marks that turn the direction of text; newlines and tabs stay.

    The spelling is JSON's, so that a JSON document means the same afterwards.

    Example:
        >>> print(plain("\x1b]0;title\x07 a" + chr(0x202E) + "b"))
        \u001b]0;title\u0007 a\u202eb
    """
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def terminal_of(stream: Any) -> Any:
    """Return the stream that rich may send its colours to; what it prints, its console has made plain."""
    return getattr(stream, "bare", stream)
