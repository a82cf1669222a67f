"""Families: one small file per architecture, found by listing this folder."""
