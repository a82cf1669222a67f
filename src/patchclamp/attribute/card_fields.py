"""Organisms on which several cards of this room are calibrated."""

CIRCUITS = ("cat", "copy-*", "induction-*", "mover-*", "neuron-*", "facts-*", "broadcast-*")
UNITS = (*CIRCUITS, "decoy-*", "seen-*", "mode-*")
EDGES = ("cat:edges", "copy-*:edges", "induction-*:edges", "neuron-*:edges", "broadcast-*:edges", "mode-*:edges")
