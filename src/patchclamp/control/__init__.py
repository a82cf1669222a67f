"""Control: change what a network does, by directions added to its activity or by edits of its weights."""

from patchclamp.control.edit import edit
from patchclamp.control.side_effects import EditEffects, measure_edit
from patchclamp.control.steer import push, steer
from patchclamp.control.strength import SteeringCurve, measure_steering

__all__ = ["EditEffects", "SteeringCurve", "edit", "measure_edit", "measure_steering", "push", "steer"]
