"""Names that other libraries give to places in a network, as far as they can be read without the network.

TransformerLens' hooks (SAELens uses them) become sites of a network with norms before its sublayers; where a hook lies
elsewhere in a model, ``patchclamp.subjects.site_names`` says so once the model is known. What an MLP reads there
(``ln2.hook_normalized``) is before its norm's gain, so it is no site here and is never guessed.

sparsify names modules, counted from the base model: ``layers.3`` (``h.3`` in GPT-2) is a block's output, which is a
site of every network; ``layers.3.mlp`` is the MLP's output before any norm that follows it, so it stays the output of
that module, ``module.layers.3.mlp.out``, until the model is known. A transcoder reads that module's input.
"""

import re
from typing import Any

from patchclamp.subjects.site_names import LENS, hook_at, module_at

_OURS = re.compile(r"(blocks\.\d+\.|module\.)[A-Za-z0-9._-]+|embed|final")
_LENS = re.compile(r"blocks\.(\d+)\.(.+)")
_MODULE = re.compile(r"(?:.*\.)?((?:layers?|h|blocks)\.(\d+)((?:\.[a-z_0-9]+)*))")


def site_of(hook: str) -> str | None:
    """Return the site that a hook of TransformerLens, or one of our own paths, names; None where there is none.

    Example:
        >>> site_of("blocks.8.hook_resid_pre"), site_of("blocks.8.mlp.act"), site_of("blocks.8.ln2.hook_normalized")
        ('blocks.8.resid_in', 'blocks.8.mlp.act', None)
    """
    parts = _LENS.fullmatch(hook)
    if parts is not None and parts[2] in LENS:
        return f"blocks.{parts[1]}.{LENS[parts[2]]}"
    return hook if _OURS.fullmatch(hook) and "hook_" not in hook else None


def hook_of(site: str, model: Any = None) -> str:
    """Return the hook of TransformerLens at a site; the site's own path where there is none.

    Args:
        site: the site.
        model: the model; without it, one with norms before its sublayers is meant.
    """
    if model is not None:
        return hook_at(model, site) or site
    parts = _LENS.fullmatch(site)
    names = {ours: theirs for theirs, ours in LENS.items() if theirs != "hook_mlp_in"}
    return f"blocks.{parts[1]}.{names[parts[2]]}" if parts is not None and parts[2] in names else site


def module_site(hookpoint: str, side: str = "out") -> str | None:
    """Return the site at a module's output or input, named as sparsify does; None outside the blocks.

    Example:
        >>> module_site("h.3.mlp"), module_site("model.layers.3"), module_site("lm_head")
        ('module.h.3.mlp.out', 'blocks.3.resid_out', None)
    """
    parts = _MODULE.fullmatch(hookpoint)
    if parts is None:
        return None
    if not parts[3]:
        return f"blocks.{parts[2]}.resid_{side}"
    return f"module.{parts[1]}.{side}"


def hookpoint_of(site: str, model: Any = None) -> str:
    """Return the module whose output a site is, counted from the base model; the site's own path where there is none.

    Args:
        site: the site.
        model: the model; without it, only blocks' outputs and outputs of modules are known, and blocks are ``layers``.
    """
    if model is not None:
        return module_at(model, site) or site
    parts = _LENS.fullmatch(site)
    if parts is not None:
        return f"layers.{parts[1]}" if parts[2] == "resid_out" else site
    module = _MODULE.fullmatch(site.removeprefix("module.").removesuffix(".out"))
    return module[1] if module is not None and site.startswith("module.") and site.endswith(".out") else site
