"""Gemma Scope: one ``params.npz`` per coder, its site and layer told by the names of the folders around it.

The facts are those of the paper (2408.05147v2), its tutorial and the README files of ``google/gemma-scope-…``:
W_enc (d_in, unit), b_enc, threshold, W_dec (unit, d_out), b_dec, and

    a = x W_enc + b_enc     f = max(a, 0) where a > threshold     x̂ = f W_dec + b_dec

``…-res`` code the residual stream after a block, ``…-mlp`` an MLP's output after its norm, ``…-att`` the heads' outputs
before W_O. ``…-transcoders`` write an MLP's output after its norm and read its input after its norm but before that
norm's gain, which was folded into the MLP: no site here, so what they read must be named.
"""

import re
from pathlib import Path

import numpy as np

from patchclamp.decompose.layouts.files import Part, fit, read_tensors

WEIGHTS = "params.npz"
KINDS = {"res": "resid_out", "mlp": "mlp.write", "att": "attn.z", "transcoders": "mlp.write"}
_REPOSITORY = re.compile(r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders)")
_LAYER = re.compile(r"(?:^|/)layer_(\d+)(?:/|$)")


def read(folder: Path, source: str = "") -> Part:
    """Read one folder.

    Args:
        folder: where ``params.npz`` lies.
        source: the name it was asked for by, which may tell the repository.

    Raises:
        Damaged: the file is missing, holds pickles, or does not fit.
    """
    arrays = read_tensors(folder / WEIGHTS)
    named = f"{source}/{folder.resolve().as_posix()}"
    repository, layer = _REPOSITORY.search(named), _LAYER.search(named)
    transcodes = repository is not None and repository[3] == "transcoders"
    out = "out" if transcodes else "in"
    shapes: dict[str, tuple[str, ...]] = {
        "W_enc": ("in", "unit"), "b_enc": ("unit",), "threshold": ("unit",), "W_dec": ("unit", out), "b_dec": (out,)
    }  # fmt: skip
    fit(folder / WEIGHTS, arrays, shapes)
    parts = {
        "activation": "jumprelu", "threshold": np.maximum(arrays["threshold"], 0), "encoder": arrays["W_enc"].T,
        "encoder_bias": arrays["b_enc"], "decoder": arrays["W_dec"], "output_bias": arrays["b_dec"],
    }  # fmt: skip
    site = f"blocks.{layer[1]}.{KINDS[repository[3]]}" if repository is not None and layer is not None else None
    model = "" if repository is None else f"gemma-2-{repository[1]}{'-it' if repository[2] == 'it' else ''}"
    return Part(parts, site, None, transcodes, model, {"folder": folder.name})
