"""Calibrate: every instrument on networks whose answer is known."""

from patchclamp.calibrate.circuits import Finding, calibrate_circuits, summary
from patchclamp.calibrate.edges import calibrate_edges, joint
from patchclamp.calibrate.tasks import MAIN_TASKS, PAIRS, Holding, calibrate_tasks

__all__ = [
    "MAIN_TASKS",
    "PAIRS",
    "Finding",
    "Holding",
    "calibrate_circuits",
    "calibrate_edges",
    "calibrate_tasks",
    "joint",
    "summary",
]
