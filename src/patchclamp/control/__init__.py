"""Change what a network does, by directions added to its activations or by edits of its weights."""

from patchclamp.ablate.steering import match_kl, push
from patchclamp.control.edit import edit
from patchclamp.control.facts import fact, key_site, neighbours, only_fact
from patchclamp.control.side_effects import EditEffects, measure_edit
from patchclamp.control.steer import steer
from patchclamp.control.steered import SteeredText, continue_steered
from patchclamp.control.strength import SteeringCurve, measure_steering

__all__ = [
    "EditEffects",
    "SteeredText",
    "SteeringCurve",
    "continue_steered",
    "edit",
    "fact",
    "key_site",
    "match_kl",
    "measure_edit",
    "measure_steering",
    "neighbours",
    "only_fact",
    "push",
    "steer",
]
