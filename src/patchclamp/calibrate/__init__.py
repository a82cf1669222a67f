"""Calibrate: every instrument on networks whose answer is known."""

from patchclamp.calibrate.calibrate import Calibration, calibrate
from patchclamp.calibrate.planted import Finding, calibrate_circuits, summary
from patchclamp.calibrate.planted_edges import calibrate_edges, joint
from patchclamp.calibrate.trained import MAIN_TASKS, PAIRS, Holding, calibrate_tasks
from patchclamp.core.rooms import make_callable

__all__ = [
    "MAIN_TASKS",
    "PAIRS",
    "Calibration",
    "Finding",
    "Holding",
    "calibrate",
    "calibrate_circuits",
    "calibrate_edges",
    "calibrate_tasks",
    "joint",
    "summary",
]

make_callable(__name__, calibrate)
