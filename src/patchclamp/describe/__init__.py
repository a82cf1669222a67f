"""Describe units in words."""

from patchclamp.core.rooms import make_callable
from patchclamp.describe.describe import describe

__all__ = ["describe"]

make_callable(__name__, describe)
