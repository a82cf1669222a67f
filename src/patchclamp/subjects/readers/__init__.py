"""One file for each format, found by listing this folder. None runs what is in a file."""
