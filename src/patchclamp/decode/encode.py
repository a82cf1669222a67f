"""Predict one recording's activity from another's."""

from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.method import Method
from patchclamp.core.method_files import find_method
from patchclamp.core.method_index import find_default
from patchclamp.core.readout import Readout
from patchclamp.core.recording import Recording
from patchclamp.core.split import Split
from patchclamp.core.subject import Progress


@checked
def encode(
    features: Recording,
    targets: Recording,
    split: Split,
    *,
    method: str | Method | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Readout:
    """Predict every target from features, scored on rows that were not fitted.

    Args:
        features: activity that is read: a network's layer, or what the stimuli hold.
        targets: activity that is predicted, of the same stimuli in the same order.
        split: folds over the stimuli.
        method: a method of the room ``decode``, its name or one of your own; the default is ``ridge``.
        seed: of everything random.
        progress: called as ``progress(done, total)``.
        options: of the method; see ``patchclamp methods decode/NAME``.

    Returns:
        Readout: the map, and for every target an estimate with its interval, null and (where known) ceiling.

    Raises:
        PatchclampError: an unknown method or option, recordings of other stimuli, or a split that leaks.

    Cost: stated by the method's card.

    Example:
        >>> from patchclamp.organisms.populations import make
        >>> brain = make("brain-linear")
        >>> encode(brain.features, brain.targets, brain.blocks).scores[0].value > 0.5
        True
    """
    chosen = find_method(method or find_default("encode", "decode"), "decode")
    readout: Readout = chosen(features, targets, split, seed=seed, progress=progress, **options)
    return readout
