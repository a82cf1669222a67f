"""What a language model can do, and why not where it cannot."""

from typing import Any

from patchclamp.core.errors import PatchclampError
from patchclamp.core.subject import Capabilities
from patchclamp.subjects.families.spec import families, reason_uncovered

HEADLESS = (
    ("unembedding", "it was saved without its head: record, survey and change it"),
    ("differentiate", "without its head it gives no answer to differentiate"),
    ("generate", "without its head it writes nothing"),
)


def list_capabilities(model: Any, bare: Capabilities, *, headless: bool) -> Capabilities:
    """Return what can be done with a language model.

    Args:
        model: the subject.
        bare: what can be done with its module, whatever it is.
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


def refuse_no_tokens(model: Any, what: str) -> None:
    """Refuse a model of text that does not predict tokens: a classifier, a reward model, one without its head.

    Args:
        model: any subject; models of images and networks of arrays are let through.
        what: what needs the tokens.

    Raises:
        PatchclampError: says what it answers with, and what works.
    """
    if getattr(model, "stimulus_kind", "") != "text" or not hasattr(model, "tokenize"):
        return
    classes = hasattr(model, "class_index")
    if classes or not model.n_answers:
        raise PatchclampError(
            expected=f"a model that predicts tokens, for {what}",
            got=f"{model.name}, a {type(model.module).__name__}, which answers with "
            + ("classes" if classes else "nothing: it was saved without its head"),
            remedy="Survey and record it"
            + ("; explain, attribute, patch and circuit find take its classes." if classes else "."),
        )
