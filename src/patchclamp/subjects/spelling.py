"""How a token is written for people, parts of characters included."""

import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [b for b in range(256) if b not in _PRINTED]
# Byte-level vocabularies write a byte as the character of its number, or, where that does not print, one from 256 on.
_BYTE_OF = {chr(b): b for b in _PRINTED} | {chr(256 + i): b for i, b in enumerate(_OTHERS)}


def spelling(tokenizer: Any, text: str, id: int) -> tuple[str, bool]:
    """Return a token's text, and whether it is only part of a character; then the text is its bytes in hex.

    Args:
        tokenizer: the transformers tokenizer.
        text: the token as it is read by itself.
        id: its id.

    Returns:
        tuple[str, bool]: text or hexadecimal bytes, and whether they are bytes.

    Example:
        >>> spelling(None, " cat", 5)
        (' cat', False)
    """
    if "\ufffd" not in text:
        return text, False
    piece = str(tokenizer.convert_ids_to_tokens(id))
    matched = _BYTE.fullmatch(piece)
    if matched:
        return f"<0x{matched[1].upper()}>", True
    if all(sign in _BYTE_OF for sign in piece):
        raw = bytes(_BYTE_OF[sign] for sign in piece)
        if "\ufffd" in raw.decode("utf-8", errors="replace") and raw != "\ufffd".encode():
            return f"<0x{raw.hex(' ').upper()}>", True
    return text, False
