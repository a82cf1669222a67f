"""Read labels from activity."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.readout import Readout
from patchclamp.core.recording import Recording
from patchclamp.core.split import Split
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task


@checked
def decode(
    recording: Recording,
    labels: Task,
    split: Split,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Readout:
    """Predict the label of every stimulus from the activity it evoked, scored on rows that were not fitted.

    Args:
        recording: activity that is read: of a brain, or a network's layer.
        labels: a labelled case for every stimulus, in the same order.
        split: folds over the stimuli.
        method: a method of the room ``decode`` that takes labels, its name or one of your own; the default is
            ``linear``.
        seed: of everything random.
        progress: called as ``progress(done, total)``.
        options: of the method; see ``patchclamp methods decode/NAME``.

    Returns:
        Readout: a discriminant per class, and for each its recall with interval and null; the summary is the balanced
            accuracy.

    Raises:
        PatchclampError: an unknown method or option, labels of other stimuli, or a split that leaks.

    Cost: stated by the method's card.

    Example:
        >>> from patchclamp.organisms.populations import make
        >>> brain = make("brain-classes")
        >>> found = decode(brain.recording, brain.labels, brain.blocks).summary
        >>> found.unit, found.null.high < found.value < brain.bayes + 0.1
        ('balanced accuracy', True)
    """
    chosen = find_method(method or find_default("decode"), "decode")
    readout: Readout = chosen(recording, labels, split, seed=seed, progress=progress, **options)
    return readout
