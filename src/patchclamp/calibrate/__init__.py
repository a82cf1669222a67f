"""Calibrate: every instrument on networks whose answer is known."""

from patchclamp.calibrate.planted import PlantedResult, calibrate_circuits, summarise
from patchclamp.calibrate.planted_edges import ablate_pair, calibrate_edges
from patchclamp.calibrate.trained import MAIN_TASKS, PAIRS, Agreement, calibrate_tasks

__all__ = [
    "MAIN_TASKS",
    "PAIRS",
    "Agreement",
    "PlantedResult",
    "calibrate_circuits",
    "calibrate_edges",
    "calibrate_tasks",
    "ablate_pair",
    "summarise",
]
