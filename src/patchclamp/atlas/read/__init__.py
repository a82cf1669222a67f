"""An atlas opened for reading."""
