"""Methods that describe units, one file each."""
