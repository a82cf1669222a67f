"""Every instrument on networks whose answer is known."""

from patchclamp.calibrate.calibrate import Calibration, calibrate
from patchclamp.calibrate.planted import PlantedResult, calibrate_circuits, summarise
from patchclamp.calibrate.planted_edges import ablate_pair, calibrate_edges
from patchclamp.calibrate.trained import MAIN_TASKS, PAIRS, Agreement, calibrate_tasks
from patchclamp.core.rooms import make_callable

__all__ = [
    "MAIN_TASKS",
    "PAIRS",
    "Calibration",
    "Agreement",
    "PlantedResult",
    "calibrate",
    "calibrate_circuits",
    "calibrate_edges",
    "calibrate_tasks",
    "ablate_pair",
    "summarise",
]

make_callable(__name__, calibrate)
