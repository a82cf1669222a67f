"""What a language model can do, and why not where it cannot."""

from typing import Any

from patchclamp.core.subject import Capabilities
from patchclamp.subjects.families.spec import families, reason_uncovered

HEADLESS = (
    ("unembedding", "it was saved without its head: record it, change it, compare it, and use canonical sites"),
    ("differentiate", "without its head it gives no answer to differentiate"),
    ("generate", "without its head it writes nothing"),
)


def list_capabilities(model: Any, *, differentiates: bool, headless: bool) -> Capabilities:
    """Return what can be done with a language model.

    Args:
        model: the subject.
        differentiates: whether its weights pass gradients on.
        headless: whether it has nothing that gives logits.

    Returns:
        Capabilities: with a reason for each that it has not, and for what is left out of a model that does more.
    """
    module, family = model.module, model.family
    quantised = getattr(module, "hf_quantizer", None) is not None or not differentiates
    missing: tuple[tuple[str, str], ...] = ()
    if quantised:
        missing = (("differentiate", "weights are quantised: record and clamp instead"),)
    if headless:
        missing = (*missing, *HEADLESS)
    if getattr(getattr(module, "config", None), "vision_config", None) is not None:
        missing = (*missing, ("images", "it is shown text alone: of its towers only that of text is run"))
    if family is None:
        why = f"{reason_uncovered(module, families())}: use module sites"
        missing = (*missing, ("attention", why), ("canonical sites", why))
    generates = not headless and bool(getattr(module, "can_generate", lambda: True)())
    if not generates and not headless:
        missing = (*missing, ("generate", "it fills in masked tokens: explain or clamp what it says at the mask"))
    if family is not None:
        missing += tuple((f"rule {rule}", why) for rule, why in family.underived.items())
    return Capabilities(True, not (quantised or headless), generates, family is not None, missing)
