"""sparsify: ``cfg.json`` beside ``sae.safetensors``, in a folder named after the module whose output is coded.

The facts are those of EleutherAI/sparsify's public source (``sparse_coder.py``, ``config.py``, ``fused_encoder.py``):

    a = max(x' W_encᵀ + b_enc, 0)     f = a among its k largest     x̂ = f W_dec + b_dec (+ x W_skipᵀ)

with x' = x − b_dec, or x where ``transcode``; tensors ``encoder.weight`` (unit, d_in), ``encoder.bias``, ``W_dec``
(unit, d_in), ``b_dec``, ``W_skip`` (d_in, d_in). Where old versions say ``signed``, f is the k of a largest by size,
and a is not cut off at zero. ``activation`` is ``topk``; ``groupmax`` takes one unit of each of k groups, which no
Basis does.
"""

from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.basis import KEEP_K, Basis
from patchclamp.decompose.formats.files import Part, fit, read_settings, read_tensors, refuse, whole_k
from patchclamp.decompose.formats.site_names import module_site

SETTINGS, WEIGHTS = "cfg.json", "sae.safetensors"


def read(folder: Path) -> Part:
    """Read one folder.

    Raises:
        PatchclampError: an activation that no Basis has.
        Damaged: files that are missing or do not fit.
    """
    cfg, file = read_settings(folder / SETTINGS), folder / WEIGHTS
    arrays = read_tensors(file)
    transcodes, k = cfg.get("transcode") is True, cfg.get("k")
    if cfg.get("activation", "topk") != "topk":
        raise refuse("sparsify", f"the activation {cfg['activation']!r}")
    if cfg.get("embed_skip") or cfg.get("gram_lookup"):
        raise refuse("sparsify", "a coder that reads the embedding or a table besides its site")
    shapes: dict[str, tuple[str, ...]] = {
        "encoder.weight": ("unit", "in"),
        "encoder.bias": ("unit",),
        "W_dec": ("unit", "in"),
        "b_dec": ("in",),
    }
    if "W_skip" in arrays:
        if not transcodes:
            raise refuse("sparsify", "a skip connection in an autoencoder", "cfg.json says that it is no transcoder.")
        shapes["W_skip"] = ("in", "in")
    fit(file, arrays, shapes)
    parts: dict[str, Any] = {
        "activation": "signed_topk" if cfg.get("signed") else "topk",
        "k": whole_k(k, "sparsify"),
        "encoder": arrays["encoder.weight"],
        "encoder_bias": arrays["encoder.bias"],
        "decoder": arrays["W_dec"],
        ("output_bias" if transcodes else "decoder_bias"): arrays["b_dec"],
    }
    if "W_skip" in arrays:
        parts["skip"] = arrays["W_skip"]
    hookpoint = folder.resolve().name
    site, reads = module_site(hookpoint), module_site(hookpoint, "in") if transcodes else None
    kept = cfg.get("patchclamp")
    about = {"patchclamp": kept} if isinstance(kept, dict) else {}
    # It reads the Hugging Face model, whose weights nobody centres.
    return Part(parts, site, reads, transcodes, "", about, conditions={"centred": False})


def write(basis: Basis) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the settings and the tensors that say what a basis says.

    Raises:
        PatchclampError: it is no topk basis, or reads a site of another width.
    """
    assert basis.decoder is not None
    assert basis.encoder is not None
    if basis.activation not in KEEP_K:
        raise refuse("sparsify", f"a {basis.activation} basis", "sparsify writes topk only; SAELens has more.")
    n, width = basis.decoder.shape
    if basis.encoder.shape[1] != width:
        raise refuse(
            "sparsify", f"{basis.encoder.shape[1]} numbers read and {width} written", "sparsify has one width."
        )
    transcodes = basis.reads is not None
    zeros = np.zeros(width)
    taken = zeros if basis.decoder_bias is None else basis.decoder_bias.astype(np.float64)
    added = basis.output_bias if basis.output_bias is not None else zeros if transcodes else taken
    bias = np.zeros(n) if basis.encoder_bias is None else basis.encoder_bias.astype(np.float64)
    # Theirs takes off the input what it adds to the output, or nothing; the rest goes into the encoder's bias.
    off = zeros if transcodes else added
    bias = bias + basis.encoder.astype(np.float64) @ (off - taken)
    tensors = {"encoder.weight": basis.encoder, "encoder.bias": bias, "W_dec": basis.decoder, "b_dec": added}
    if basis.skip is not None:
        tensors["W_skip"] = basis.skip
    cfg = {
        "activation": "topk",
        **({"signed": True} if basis.activation == "signed_topk" else {}),
        "expansion_factor": max(n // width, 1),
        "normalize_decoder": False,
        "num_latents": n,
        "k": basis.k,
        "multi_topk": False,
        "skip_connection": basis.skip is not None,
        "transcode": transcodes,
        "d_in": width,
    }
    return cfg, {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in tensors.items()}
