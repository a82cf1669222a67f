"""Calibrate: every instrument on networks whose answer is known."""

from patchclamp.calibrate.circuits import Finding, calibrate_circuits, summary
from patchclamp.calibrate.tasks import MAIN_TASKS, PAIRS, Holding, calibrate_tasks

__all__ = ["MAIN_TASKS", "PAIRS", "Finding", "Holding", "calibrate_circuits", "calibrate_tasks", "summary"]
