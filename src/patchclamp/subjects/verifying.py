"""Verifying: the contract of whichever family a model or a name belongs to."""

from patchclamp.core.arguments import checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.subject import Progress
from patchclamp.subjects import contract, vision_contract
from patchclamp.subjects.contract import Verdict
from patchclamp.subjects.grids import vision_family_names
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.model import Model
from patchclamp.subjects.vision import VisionModel


@checked
def verify(model: Model, *, progress: Progress | None = None) -> list[Verdict]:
    """Prove that what the rig shows is the model: equalities, then the laws of its family on its own weights.

    Args:
        model: a language model or an image model.
        progress: called with checks done and checks in all.

    Returns:
        list[Verdict]: deviations in logits or relative units; limits scale with the dtype's precision.

    Cost: some twenty forward passes over three random stimuli.

    Example:
        >>> from patchclamp.opening import load
        >>> verify(load("organism:cat"))[0].deviation
        0.0
    """
    if isinstance(model, VisionModel):
        return vision_contract.verify_vision(model, progress=progress)
    if isinstance(model, LanguageModel):
        return contract.verify(model, progress=progress)
    raise PatchclampError(
        expected="a language model or an image model", got=type(model).__name__, remedy="Compare its outputs yourself."
    )


def verify_family(name: str, *, progress: Progress | None = None) -> list[Verdict]:
    """Run the contract on a family's tiny model, and each part on its wrong mapping, in float32.

    Args:
        name: family name, of text or of images.
        progress: called with checks done and checks in all.

    Raises:
        PatchclampError: no such family.

    Cost: one to two seconds on one core.
    """
    found = vision_contract.verify_vision_family if name in vision_family_names() else contract.verify_family
    return found(name, progress=progress)
