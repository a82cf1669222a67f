"""Scorers of descriptions: each file is one card."""
