"""Methods that teach networks, one file each."""
