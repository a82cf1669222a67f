"""patchclamp: a rig for neurons. Record, attribute, decompose, describe, control and evaluate, with receipts.

Importing this package imports neither torch nor transformers; they come with the first name that needs them.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    # Locks, links and durable folders are those of POSIX; tried on Linux.
    raise ImportError("patchclamp expects Linux or macOS; this is Windows. Install it inside WSL: `wsl --install`.")

__version__ = "0.1.0"

_HOME = {
    "attribute_nodes": "attribute",
    "attribute_pairs": "attribute.pairs",
    "Basis": "core.basis",
    "Case": "core.task",
    "change": "core.intervention",
    "check_method": "calibrate.conformance",
    "clamp": "core.intervention",
    "compare_models": "compare",
    "continue_steered": "control",
    "convert_basis": "decompose.formats",
    "Corpus": "core.corpus",
    "Description": "core.description",
    "Descriptions": "core.descriptions",
    "Dictionary": "core.dictionary",
    "Edit": "core.edit",
    "edit": "control",
    "encode": "decode.encode",
    "Estimate": "core.estimate",
    "Exemplars": "core.exemplars",
    "explain": "recipes",
    "Explanation": "recipes",
    "fact": "control",
    "find_circuit": "recipes",
    "generate": "recipes",
    "Graph": "core.graph",
    "Interval": "core.stats",
    "Intervention": "core.intervention",
    "LanguageModel": "subjects.language",
    "load": "loaders",
    "load_basis": "loaders",
    "load_recording": "subjects.neural_layout",
    "match_kl": "control",
    "measure_edit": "control",
    "measure_steering": "control",
    "Method": "core.method",
    "methods": "core.method_index",
    "Metric": "core.metric",
    "Network": "subjects.network",
    "ModelComparison": "core.model_comparison",
    "NeuralRecording": "subjects.neural",
    "neighbours": "control",
    "open_task": "loaders",
    "open_text": "loaders",
    "own_answers": "subjects.images",
    "Paper": "core.method",
    "patch": "attribute.patch",
    "PatchclampError": "core.errors",
    "Picture": "core.stimulus",
    "push": "control",
    "RandomControls": "core.controls",
    "read_corpus": "subjects.corpora",
    "read_task": "core.task_files",
    "Readout": "core.readout",
    "Receipt": "core.receipt",
    "Recording": "core.recording",
    "save_report": "report",
    "show_progress": "core.notebook_progress",
    "score_descriptions": "describe",
    "ScoredDescriptions": "describe",
    "Scores": "core.scores",
    "Similarity": "core.similarity",
    "Site": "core.site",
    "Source": "core.intervention",
    "Split": "core.split",
    "steer": "control",
    "Stage": "core.stream",
    "Stimulus": "core.stimulus",
    "StoredRecording": "core.recording",
    "StoredSurvey": "core.survey",
    "Stream": "core.stream",
    "survey": "record.collect",
    "Task": "core.task",
    "Training": "core.training",
    "UnitKey": "core.unit",
    "verify": "subjects.contract.verify",
    "VisionModel": "subjects.vision",
    "When": "core.condition",
    "wrap": "loaders",
}

_ROOMS = (
    "atlas",
    "attribute",
    "calibrate",
    "compare",
    "decode",
    "decompose",
    "describe",
    "evaluate",
    "learn",
    "record",
    "train",
)
"""Rooms and floors, which can be called where a verb has their name: ``pc.compare(first, second)``."""

__all__ = sorted([*_HOME, *_ROOMS, "__version__"])

if TYPE_CHECKING:
    from patchclamp import atlas as atlas
    from patchclamp import attribute as attribute
    from patchclamp import calibrate as calibrate
    from patchclamp import compare as compare
    from patchclamp import decode as decode
    from patchclamp import decompose as decompose
    from patchclamp import describe as describe
    from patchclamp import evaluate as evaluate
    from patchclamp import learn as learn
    from patchclamp import record as record
    from patchclamp import train as train
    from patchclamp.attribute import attribute_nodes as attribute_nodes
    from patchclamp.attribute.pairs import attribute_pairs as attribute_pairs
    from patchclamp.attribute.patch import patch as patch
    from patchclamp.calibrate.conformance import check_method as check_method
    from patchclamp.compare import compare_models as compare_models
    from patchclamp.control import continue_steered as continue_steered
    from patchclamp.control import edit as edit
    from patchclamp.control import fact as fact
    from patchclamp.control import match_kl as match_kl
    from patchclamp.control import measure_edit as measure_edit
    from patchclamp.control import measure_steering as measure_steering
    from patchclamp.control import neighbours as neighbours
    from patchclamp.control import push as push
    from patchclamp.control import steer as steer
    from patchclamp.core.basis import Basis as Basis
    from patchclamp.core.condition import When as When
    from patchclamp.core.controls import RandomControls as RandomControls
    from patchclamp.core.corpus import Corpus as Corpus
    from patchclamp.core.description import Description as Description
    from patchclamp.core.descriptions import Descriptions as Descriptions
    from patchclamp.core.dictionary import Dictionary as Dictionary
    from patchclamp.core.edit import Edit as Edit
    from patchclamp.core.errors import PatchclampError as PatchclampError
    from patchclamp.core.estimate import Estimate as Estimate
    from patchclamp.core.exemplars import Exemplars as Exemplars
    from patchclamp.core.graph import Graph as Graph
    from patchclamp.core.intervention import (
        Intervention as Intervention,
    )
    from patchclamp.core.intervention import (
        Source as Source,
    )
    from patchclamp.core.intervention import (
        change as change,
    )
    from patchclamp.core.intervention import (
        clamp as clamp,
    )
    from patchclamp.core.method import Method as Method
    from patchclamp.core.method import Paper as Paper
    from patchclamp.core.method_index import methods as methods
    from patchclamp.core.metric import Metric as Metric
    from patchclamp.core.model_comparison import ModelComparison as ModelComparison
    from patchclamp.core.notebook_progress import show_progress as show_progress
    from patchclamp.core.readout import Readout as Readout
    from patchclamp.core.receipt import Receipt as Receipt
    from patchclamp.core.recording import Recording as Recording
    from patchclamp.core.recording import StoredRecording as StoredRecording
    from patchclamp.core.scores import Scores as Scores
    from patchclamp.core.similarity import Similarity as Similarity
    from patchclamp.core.site import Site as Site
    from patchclamp.core.split import Split as Split
    from patchclamp.core.stats import Interval as Interval
    from patchclamp.core.stimulus import Picture as Picture
    from patchclamp.core.stimulus import Stimulus as Stimulus
    from patchclamp.core.stream import Stage as Stage
    from patchclamp.core.stream import Stream as Stream
    from patchclamp.core.survey import StoredSurvey as StoredSurvey
    from patchclamp.core.task import Case as Case
    from patchclamp.core.task import Task as Task
    from patchclamp.core.task_files import read_task as read_task
    from patchclamp.core.training import Training as Training
    from patchclamp.core.unit import UnitKey as UnitKey
    from patchclamp.decode.encode import encode as encode
    from patchclamp.decompose.formats import convert_basis as convert_basis
    from patchclamp.describe import ScoredDescriptions as ScoredDescriptions
    from patchclamp.describe import score_descriptions as score_descriptions
    from patchclamp.loaders import load as load
    from patchclamp.loaders import load_basis as load_basis
    from patchclamp.loaders import open_task as open_task
    from patchclamp.loaders import open_text as open_text
    from patchclamp.loaders import wrap as wrap
    from patchclamp.recipes import Explanation as Explanation
    from patchclamp.recipes import explain as explain
    from patchclamp.recipes import find_circuit as find_circuit
    from patchclamp.recipes import generate as generate
    from patchclamp.record.collect import survey as survey
    from patchclamp.report import save_report as save_report
    from patchclamp.subjects.contract.verify import verify as verify
    from patchclamp.subjects.corpora import read_corpus as read_corpus
    from patchclamp.subjects.images import own_answers as own_answers
    from patchclamp.subjects.language import LanguageModel as LanguageModel
    from patchclamp.subjects.network import Network as Network
    from patchclamp.subjects.neural import NeuralRecording as NeuralRecording
    from patchclamp.subjects.neural_layout import load_recording as load_recording
    from patchclamp.subjects.vision import VisionModel as VisionModel


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"patchclamp.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'patchclamp' has no attribute {name!r}")
    return getattr(importlib.import_module(f"patchclamp.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
