"""Kinds of stimulus: one file each, found by listing this folder."""
