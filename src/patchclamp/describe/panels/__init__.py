"""Panels of judges that compare two texts, one file each, found by listing."""
