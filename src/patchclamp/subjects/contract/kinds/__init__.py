"""Kinds of stimulus that the contract knows: one file each, found by listing this folder."""
