"""One file each, found by listing this folder."""
