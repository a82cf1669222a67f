"""Families of image models: one file each."""
