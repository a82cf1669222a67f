"""Calibrate: every instrument on networks whose answer is known."""

from patchclamp.calibrate.circuits import Finding, calibrate_circuits, summary

__all__ = ["Finding", "calibrate_circuits", "summary"]
