"""Fields that the cards of all sparse coders share."""

from collections.abc import Mapping
from typing import Any

SPARSE_CODER: Mapping[str, Any] = {
    "calibrated_on": ("superposition",),
    "must_show": "most of the features that are planted in superposition, each by a direction of its own",
    "must_miss": {"superposition:noise": "activity without features has none to be found"},
    "sources": (
        "decompose/sparse_coder.py",
        "decompose/sparse_code.py",
        "decompose/training.py",
        "decompose/fitting.py",
    ),
    "resumable": True,
}
