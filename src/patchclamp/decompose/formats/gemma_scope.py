"""Gemma Scope: ``params.npz``, its site read from the names of folders; Gemma Scope 2: ``params.safetensors``.

The facts are those of the paper (2408.05147v2), its tutorial and the README files of ``google/gemma-scope-…``:
W_enc (d_in, unit), b_enc, threshold, W_dec (unit, d_out), b_dec, and

    a = x W_enc + b_enc     f = max(a, 0) where a > threshold     x̂ = f W_dec + b_dec

``…-res`` code the residual stream after a block, ``…-mlp`` an MLP's output after its norm, ``…-att`` the heads' outputs
before W_O. ``…-transcoders`` write an MLP's output after its norm and read its input after its norm but before that
norm's gain, which was folded into the MLP: no site here, so what they read must be named.

Gemma Scope 2 (``google/gemma-scope-2-…``) has the same with small letters, ``affine_skip_connection`` (d_in, d_out)
beside in some transcoders, and a ``config.json`` that names tensors of the Hugging Face model:
``model.layers.3.output``, ``model.layers.3.self_attn.o_proj.input``; ``architecture`` is ``jump_relu``.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.decompose.formats.files import Part, fit, read_settings, read_tensors, refuse
from patchclamp.decompose.formats.site_names import module_site

WEIGHTS, SECOND, SETTINGS = "params.npz", "params.safetensors", "config.json"
KINDS = {"res": "resid_out", "mlp": "mlp.write", "att": "attn.z", "transcoders": "mlp.write"}
CONDITIONS = {"centred": False, "prepend_bos": True, "context_size": 1024}
"""What both were trained on: Gemma as it is, texts of 1,024 tokens that begin with a BOS token, which is left out."""
_REPOSITORY = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders)")
_LAYER = re.compile(r"(?:^|/)layer_(0|[1-9][0-9]*)(?:/|$)")


def read(folder: Path, source: str = "") -> Part:
    """Read one folder.

    Args:
        folder: where ``params.npz`` lies.
        source: the name under which it was requested, which may contain the repository.

    Raises:
        Damaged: the file is missing, holds pickles, or does not fit.
    """
    arrays = read_tensors(folder / WEIGHTS)
    named = f"{source}/{folder.resolve().as_posix()}"
    repository, layer = _REPOSITORY.search(named), _LAYER.search(named)
    transcodes = repository is not None and repository[3] == "transcoders"
    out = "out" if transcodes else "in"
    shapes: dict[str, tuple[str, ...]] = {
        "W_enc": ("in", "unit"),
        "b_enc": ("unit",),
        "threshold": ("unit",),
        "W_dec": ("unit", out),
        "b_dec": (out,),
    }
    fit(folder / WEIGHTS, arrays, shapes)
    parts = {
        "activation": "jumprelu",
        "threshold": np.maximum(arrays["threshold"], 0),
        "encoder": arrays["W_enc"].T,
        "encoder_bias": arrays["b_enc"],
        "decoder": arrays["W_dec"],
        "output_bias": arrays["b_dec"],
    }
    site = f"blocks.{layer[1]}.{KINDS[repository[3]]}" if repository is not None and layer is not None else None
    model = "" if repository is None else f"gemma-2-{repository[1]}{'-it' if repository[2] == 'it' else ''}"
    return Part(parts, site, None, transcodes, model, {"folder": folder.name}, conditions=CONDITIONS)


def read_second(folder: Path) -> Part:
    """Read one folder of Gemma Scope 2.

    Raises:
        PatchclampError: an architecture that no Basis has.
        Damaged: files that are missing or do not fit.
    """
    cfg, file = read_settings(folder / SETTINGS), folder / SECOND
    arrays = read_tensors(file)
    if cfg.get("architecture", "jump_relu") not in ("jump_relu", "jumprelu"):
        raise refuse("Gemma Scope 2", f"the architecture {cfg['architecture']!r}")
    if arrays.get("w_dec", np.zeros((0, 0))).ndim != 2:
        raise refuse(
            "Gemma Scope 2",
            "a cross-layer transcoder, whose decoders of all layers lie in one file",
            "circuit-tracer writes it as W_enc_*.safetensors and W_dec_*.safetensors, which are read.",
        )
    entered, left = (str(cfg.get(f"hf_hook_point_{side}") or "") for side in ("in", "out"))
    transcodes = cfg.get("type") != "sae" and left not in ("", entered)
    out = "out" if transcodes else "in"
    shapes: dict[str, tuple[str, ...]] = {
        "w_enc": ("in", "unit"),
        "b_enc": ("unit",),
        "threshold": ("unit",),
        "w_dec": ("unit", out),
        "b_dec": (out,),
    }
    skips = [name for name in arrays if "skip" in name]
    if skips:
        shapes[skips[0]] = ("in", out)
    if len(skips) > 1 or (skips and not transcodes) or bool(cfg.get("affine_connection")) != bool(skips):
        raise refuse("Gemma Scope 2", f"affine_connection {cfg.get('affine_connection')!r} with {skips or 'no skip'}")
    fit(file, arrays, shapes)
    parts: dict[str, Any] = {
        "activation": "jumprelu",
        "threshold": np.maximum(arrays["threshold"], 0),
        "encoder": arrays["w_enc"].T,
        "encoder_bias": arrays["b_enc"],
        "decoder": arrays["w_dec"],
        "output_bias": arrays["b_dec"],
    }
    if skips:
        parts["skip"] = arrays[skips[0]].T
    site, reads = _find_site(left if transcodes else entered), _find_site(entered) if transcodes else None
    model = str(cfg.get("model_name") or "").rpartition("/")[2]
    return Part(parts, site, reads, transcodes, model, {"folder": folder.name}, conditions=CONDITIONS)


def _find_site(hook: str) -> str | None:
    """Return the site at a tensor of the Hugging Face model, ``MODULE.output`` or ``MODULE.input``."""
    module, _, side = hook.rpartition(".")
    return module_site(module, {"input": "in", "output": "out"}[side]) if side in ("input", "output") else None
