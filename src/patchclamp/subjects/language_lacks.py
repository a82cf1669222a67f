"""What a language model can do, and why not where it cannot."""

from typing import Any

from patchclamp.core.subject import Capabilities
from patchclamp.subjects.families.spec import families, reason_uncovered

HEADLESS = (
    ("unembedding", "it was saved without its head: record it, change it, compare it, and use canonical sites"),
    ("differentiate", "without its head it gives no answer to differentiate"),
    ("generate", "without its head it writes nothing"),
)


def list_capabilities(model: Any, bare: Capabilities, *, headless: bool) -> Capabilities:
    """Return what can be done with a language model.

    Args:
        model: the subject.
        bare: what can be done with it as any network.
        headless: whether it has nothing that gives logits.

    Returns:
        Capabilities: with a reason for each that it has not, and for what is left out of a model that does more.
    """
    module, family = model.module, model.family
    missing = tuple((what, why) for what, why in bare.missing if what == "differentiate")
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
        missing += tuple(family.lacking(module).items())
    attends = family is not None and "attn.pattern" in family.block
    return Capabilities(True, bare.differentiate and not headless, generates, attends, missing)
