"""Decode: what can be predicted of a recording, or read from it."""

from patchclamp.core.rooms import make_callable
from patchclamp.decode.encode import encode

__all__ = ["encode"]

make_callable(__name__, encode)
