"""Hooks: what other libraries call the places in a network, and what they are called here.

TransformerLens' names (SAELens uses them) are those of its documentation, "Main demo" and ``components/*.py``:
``hook_resid_pre|mid|post`` the residual stream, ``hook_attn_out`` and ``hook_mlp_out`` what is added to it,
``attn.hook_z`` the heads' outputs, ``mlp.hook_pre|hook_pre_linear|hook_post`` the MLP's inside. What an MLP reads
there (``ln2.hook_normalized``) is before its norm's gain, so it is no site here and is never guessed.

sparsify names modules, counted from the base model: ``layers.3`` (``h.3`` in GPT-2) is a block's output,
``layers.3.mlp`` an MLP's; a transcoder reads that module's input.
"""

import re

LENS = {
    "hook_resid_pre": "resid_in", "hook_resid_mid": "resid_mid", "hook_resid_post": "resid_out",
    "hook_attn_out": "attn.write", "hook_mlp_out": "mlp.write", "attn.hook_z": "attn.z",
    "mlp.hook_pre": "mlp.pre", "mlp.hook_pre_linear": "mlp.up", "mlp.hook_post": "mlp.act", "hook_mlp_in": "resid_mid",
}  # fmt: skip
MODULES = {"": "resid_out", ".mlp": "mlp.write", ".attn": "attn.write", ".self_attn": "attn.write",
           ".attention": "attn.write", ".mlp.act": "mlp.act"}  # fmt: skip
_OURS = re.compile(r"(blocks\.\d+\.|module\.)[A-Za-z0-9._-]+|embed|final")
_LENS = re.compile(r"blocks\.(\d+)\.(.+)")
_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)((?:\.[a-z_]+)*)")


def site_of(hook: str) -> str | None:
    """Return the site that a hook of TransformerLens, or one of our own paths, names; None where there is none.

    Example:
        >>> site_of("blocks.8.hook_resid_pre"), site_of("blocks.8.mlp.act"), site_of("blocks.8.ln2.hook_normalized")
        ('blocks.8.resid_in', 'blocks.8.mlp.act', None)
    """
    found = _LENS.fullmatch(hook)
    if found is not None and found[2] in LENS:
        return f"blocks.{found[1]}.{LENS[found[2]]}"
    return hook if _OURS.fullmatch(hook) and "hook_" not in hook else None


def hook_of(site: str) -> str:
    """Return the hook of TransformerLens at a site; the site's own path where there is none."""
    found = _LENS.fullmatch(site)
    names = {ours: theirs for theirs, ours in LENS.items() if theirs != "hook_mlp_in"}
    return f"blocks.{found[1]}.{names[found[2]]}" if found is not None and found[2] in names else site


def module_site(hookpoint: str) -> str | None:
    """Return the site at a module's output, named as sparsify does; None where there is none.

    Example:
        >>> module_site("h.3.mlp"), module_site("model.layers.3"), module_site("lm_head")
        ('blocks.3.mlp.write', 'blocks.3.resid_out', None)
    """
    found = _MODULE.fullmatch(hookpoint)
    kind = None if found is None else MODULES.get(found[2])
    return f"blocks.{found[1]}.{kind}" if found is not None and kind is not None else None


def hookpoint_of(site: str) -> str:
    """Return the module whose output a site is, as most families call it; the site's own path where there is none."""
    found = _LENS.fullmatch(site)
    names = {"resid_out": "", "mlp.write": ".mlp", "attn.write": ".self_attn", "mlp.act": ".mlp.act"}
    return f"layers.{found[1]}{names[found[2]]}" if found is not None and found[2] in names else site
