"""Predict a recording from another, or read labels from it."""

from patchclamp.core.rooms import make_callable
from patchclamp.decode.decode import decode
from patchclamp.decode.encode import encode

__all__ = ["decode", "encode"]

make_callable(__name__, decode)
