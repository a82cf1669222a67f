"""Record: stream a text through a subject, to activations on disk or to statistics of every unit."""

from patchclamp.record.neural import survey_recording
from patchclamp.record.plan import Plan, make_plan
from patchclamp.record.stream import record_text
from patchclamp.record.survey import survey_text

__all__ = ["Plan", "make_plan", "record_text", "survey_recording", "survey_text"]
