"""Judges of descriptions, one file each."""
