"""Train networks by rules that learn like brains."""

from patchclamp.core.rooms import make_callable
from patchclamp.learn.learn import learn

__all__ = ["learn"]

make_callable(__name__, learn)
