"""Decompose: activity into parts that mean something, as a Basis that every instrument takes."""
