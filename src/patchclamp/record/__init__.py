"""Record: stream a text, images or arrays through a subject, to activations on disk or statistics of every unit."""

from patchclamp.record.inputs import record_inputs, survey_inputs
from patchclamp.record.neural import survey_recording
from patchclamp.record.plan import Plan, Showing, make_plan, show_images, show_text
from patchclamp.record.stream import record_images, record_shown, record_text
from patchclamp.record.survey import survey_images, survey_shown, survey_text

__all__ = [
    "Plan",
    "Showing",
    "make_plan",
    "record_images",
    "record_inputs",
    "record_shown",
    "record_text",
    "show_images",
    "show_text",
    "survey_images",
    "survey_inputs",
    "survey_recording",
    "survey_shown",
    "survey_text",
]
