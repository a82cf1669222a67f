"""Decompose activations into directions that mean more than single neurons, as bases."""

from patchclamp.core.rooms import make_callable
from patchclamp.decompose.activation_store import ArraySource, RecordingSource, TextSource, collect_activations
from patchclamp.decompose.decompose import decompose
from patchclamp.decompose.recipe import Job, Recipe
from patchclamp.decompose.sparse_coder import (
    BatchTopKConfig,
    JumpReLUConfig,
    L1Config,
    SparseCoder,
    TopKConfig,
    make_coder,
)
from patchclamp.decompose.training import Trained, train, train_dictionary

__all__ = [
    "ArraySource",
    "BatchTopKConfig",
    "Job",
    "JumpReLUConfig",
    "L1Config",
    "Recipe",
    "RecordingSource",
    "SparseCoder",
    "TextSource",
    "TopKConfig",
    "Trained",
    "decompose",
    "collect_activations",
    "make_coder",
    "train",
    "train_dictionary",
]

make_callable(__name__, decompose)
