"""Attribute: how much of a metric every neuron and head at every position carries."""

from patchclamp.attribute.nodes import LEVELS, Attribution
from patchclamp.attribute.reference import Reference
from patchclamp.attribute.scoring import METHODS, attribute_nodes

__all__ = ["LEVELS", "METHODS", "Attribution", "Reference", "attribute_nodes"]
