"""The cards of this room: one file each."""
