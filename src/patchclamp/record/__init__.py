"""Stream a corpus, or a network's own inputs, to activations on disk or statistics of every unit."""

from patchclamp.core.rooms import make_callable
from patchclamp.record.collect import record
from patchclamp.record.inputs import record_inputs, survey_inputs
from patchclamp.record.neural import survey_recording
from patchclamp.record.stream import record_corpus
from patchclamp.record.survey import survey_corpus

__all__ = ["record", "record_corpus", "record_inputs", "survey_corpus", "survey_inputs", "survey_recording"]

make_callable(__name__, record)
