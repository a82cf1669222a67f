"""patchclamp: a rig for neurons. Record, attribute, decompose, describe, control and evaluate, with receipts.

Importing this package imports neither torch nor transformers; they come with the first name that needs them.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Basis": "core.basis",
    "Description": "core.description",
    "Explanation": "explain",
    "Graph": "core.graph",
    "Intervention": "core.intervention",
    "LanguageModel": "subjects.language",
    "Metric": "core.metric",
    "Network": "subjects.network",
    "PatchclampError": "core.errors",
    "Recording": "core.recording",
    "Site": "core.site",
    "Source": "core.intervention",
    "Stimulus": "core.stimulus",
    "StoredRecording": "core.recording",
    "StoredSurvey": "core.survey",
    "UnitKey": "core.unit",
    "change": "core.intervention",
    "clamp": "core.intervention",
    "explain_answer": "explain",
    "load": "opening",
    "record_text": "record",
    "survey_text": "record",
    "verify": "subjects.contract",
    "wrap": "opening",
}

__all__ = sorted([*_HOME, "__version__"])

if TYPE_CHECKING:
    from patchclamp.core.basis import Basis
    from patchclamp.core.description import Description
    from patchclamp.core.errors import PatchclampError
    from patchclamp.core.graph import Graph
    from patchclamp.core.intervention import Intervention, Source, change, clamp
    from patchclamp.core.metric import Metric
    from patchclamp.core.recording import Recording, StoredRecording
    from patchclamp.core.site import Site
    from patchclamp.core.stimulus import Stimulus
    from patchclamp.core.survey import StoredSurvey
    from patchclamp.core.unit import UnitKey
    from patchclamp.explain import Explanation, explain_answer
    from patchclamp.opening import load, wrap
    from patchclamp.record import record_text, survey_text
    from patchclamp.subjects.contract import verify
    from patchclamp.subjects.language import LanguageModel
    from patchclamp.subjects.network import Network


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'patchclamp' has no attribute {name!r}")
    return getattr(importlib.import_module(f"patchclamp.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
