"""Which regions of an input carried an answer."""
