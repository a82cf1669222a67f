"""Decompose: activity into parts that mean something."""
