"""SAELens: ``cfg.json`` beside ``sae_weights.safetensors``, of version 6 and of those before.

The facts are those of SAELens' public source (github.com/decoderesearch/SAELens, formerly jbloomAus/SAELens; read in
versions 3 to 6: ``saes/*.py``, ``saes/transcoder.py``, ``loading/pretrained_sae_loaders.py``). With x the input, c = 1
where ``apply_b_dec_to_input`` and else 0:

    a = (x − c · b_dec) W_enc + b_enc      x̂ = f W_dec + b_dec      (transcoders: c = 0, + x W_skipᵀ where there is one)

| ``architecture`` | f |
|---|---|
| standard, transcoder, skip_transcoder | max(a, 0) |
| topk | max(a, 0) among the k largest; with ``rescale_acts_by_decoder_norm`` of a · ‖W_dec‖, and W_dec / ‖W_dec‖ |
| jumprelu, jumprelu_transcoder, jumprelu_skip_transcoder | max(a, 0) where a > threshold |
| batchtopk, matryoshka_batchtopk | saved as jumprelu; a training checkpoint has one ``topk_threshold`` |
| gated | max(e^{r_mag} ⊙ π + b_mag, 0) where π + b_gate > 0, π = (x − c · b_dec) W_enc |

A gated coder is a jumprelu one: with a = e^{r_mag} ⊙ π + b_mag it fires where a > max(b_mag − e^{r_mag} b_gate, 0).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.basis import Basis
from patchclamp.decompose.formats.conditions import read_conditions
from patchclamp.decompose.formats.files import Part, fit, read_settings, read_tensors, refuse, whole_k
from patchclamp.decompose.formats.site_names import site_of

SETTINGS, WEIGHTS = "cfg.json", "sae_weights.safetensors"
RELU = ("standard", "transcoder", "skip_transcoder")
TOPK = ("topk",)
JUMP = ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder", "batchtopk", "matryoshka_batchtopk")


def read(folder: Path) -> Part:
    """Read one folder.

    Raises:
        PatchclampError: an architecture or normalisation that no Basis has.
        Damaged: files that are missing or do not fit.
    """
    cfg = _settle(read_settings(folder / SETTINGS))
    file = folder / WEIGHTS
    arrays = read_tensors(file)
    kind = str(cfg["architecture"])
    transcodes = "transcoder" in kind
    _check(cfg, kind)
    applied = bool(cfg["apply_b_dec_to_input"]) and not transcodes
    into = "in" if applied else "out"
    shapes: dict[str, tuple[str, ...]] = {
        "W_enc": ("in", "unit"),
        "W_dec": ("unit", "in" if not transcodes else "out"),
        "b_dec": ("in" if not transcodes else into,),
    }
    if kind == "gated":
        fit(file, arrays, {**shapes, "b_gate": ("unit",), "b_mag": ("unit",), "r_mag": ("unit",)})
    else:
        fit(file, arrays, {**shapes, "b_enc": ("unit",)})
    encoder, decoder, b_dec = arrays["W_enc"].T, arrays["W_dec"], arrays["b_dec"]
    parts: dict[str, Any] = {"activation": "relu"}
    bias = arrays.get("b_enc")
    if kind == "gated":
        gain = np.exp(arrays["r_mag"])
        encoder, bias = encoder * gain[:, None], arrays["b_mag"]
        parts = {"activation": "jumprelu", "threshold": np.maximum(bias - gain * arrays["b_gate"], 0)}
    elif kind in JUMP:
        if "threshold" not in arrays and arrays.get("topk_threshold", np.zeros(2)).size == 1:
            arrays["threshold"] = np.full(len(decoder), float(arrays["topk_threshold"].item()), dtype=decoder.dtype)
        fit(file, arrays, {"threshold": ("unit",), "W_dec": ("unit", "out")})
        # Theirs is max(a, 0) where a > θ: a threshold below zero does what zero does.
        parts = {"activation": "jumprelu", "threshold": np.maximum(arrays["threshold"], 0)}
    elif kind in TOPK:
        parts = {"activation": "topk", "k": whole_k(cfg.get("k"), "SAELens")}
    assert bias is not None
    if cfg.get("rescale_acts_by_decoder_norm") and kind != "gated":
        norms = np.linalg.norm(decoder, axis=1)
        norms[norms == 0] = 1
        encoder, bias, decoder = encoder * norms[:, None], bias * norms, decoder / norms[:, None]
    scale = arrays.get("finetuning_scaling_factor", arrays.get("scaling_factor"))
    if scale is not None and not np.allclose(scale, 1):
        if not cfg.get("finetuning_scaling_factor"):
            raise refuse(
                "SAELens", "a scaling factor that cfg.json does not switch on", "Set finetuning_scaling_factor."
            )
        fit(file, {"scaling_factor": scale, "W_dec": decoder}, {"scaling_factor": ("unit",), "W_dec": ("unit", "out")})
        decoder = decoder * scale[:, None]
    read_at, written_at = str(cfg.get("hook_name") or ""), str(cfg.get("hook_name_out") or "")
    site, reads = site_of(written_at if transcodes else read_at), site_of(read_at) if transcodes else None
    hooks = {
        s: hook for s, hook in ((site, written_at if transcodes else read_at), (reads, read_at)) if s and s != hook
    }
    shift: dict[str, Any] = {"decoder_bias": b_dec} if applied else {"output_bias": b_dec}
    about = {"architecture": kind}
    if "skip" in kind:
        fit(file, arrays, {"W_skip": ("out", "in"), "W_enc": ("in", "unit"), "W_dec": ("unit", "out")})
        parts["skip"] = arrays["W_skip"]
    parts |= {"encoder": encoder, "encoder_bias": bias, "decoder": decoder, **shift}
    kept = cfg.get("patchclamp")
    return Part(
        parts,
        site,
        reads,
        transcodes,
        str(cfg.get("model_name") or ""),
        {**about, "patchclamp": kept} if isinstance(kept, dict) else about,
        hooks,
        read_conditions(cfg),
    )


def _settle(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of any version under the names and defaults of version 6, metadata among them."""
    named = {
        "hook_point": "hook_name",
        "hook_point_head_index": "hook_head_index",
        "activation_fn_str": "activation_fn",
    }
    flat = {named.get(str(k), str(k)): v for k, v in cfg.items()}
    metadata = flat.pop("metadata", None)
    flat = {**flat, **(metadata if isinstance(metadata, dict) else {})}
    old = flat.get("activation_fn_kwargs")
    if flat.get("activation_fn") == "topk" and isinstance(old, dict):
        flat = {**flat, "architecture": "topk", "k": old.get("k")}
    flat.setdefault("architecture", "standard")
    flat.setdefault("apply_b_dec_to_input", True)
    return flat


def _check(cfg: Mapping[str, Any], kind: str) -> None:
    if kind not in (*RELU, *TOPK, *JUMP, "gated"):
        raise refuse("SAELens", f"the architecture {kind!r}")
    if str(cfg.get("activation_fn", "relu")) not in ("relu", "topk", "None"):
        raise refuse("SAELens", f"the activation {cfg['activation_fn']!r}")
    if cfg.get("normalize_activations") not in (None, False, "none"):
        raise refuse(
            "SAELens",
            f"normalize_activations = {cfg['normalize_activations']!r}, which scales inputs by a norm of the data",
            "Where it is expected_average_only_in, fold the factor into the weights with SAELens "
            "(fold_activation_norm_scaling_factor) and save again.",
        )
    if cfg.get("hook_head_index") is not None:
        raise refuse("SAELens", f"one head's coder (hook_head_index {cfg['hook_head_index']!r})")


def write(
    basis: Basis, where: str, read: str, model: str, conditions: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the settings and tensors of SAELens for a basis.

    Two biases become one by folding what is taken off the input into the encoder's: b_enc − E b_dec.

    Args:
        basis: of relu, topk or jumprelu.
        where: name of the hook that it writes.
        read: name of the hook that it reads.
        model: name of the model.
        conditions: as settings of SAELens.

    Returns:
        tuple: settings, and arrays by name.

    Raises:
        PatchclampError: SAELens has no such architecture.
    """
    kinds = {
        ("relu", False): "standard",
        ("topk", False): "topk",
        ("jumprelu", False): "jumprelu",
        ("relu", True): "transcoder",
        ("jumprelu", True): "jumprelu_transcoder",
    }
    kind = kinds.get((basis.activation, basis.reads is not None))
    if kind is None:
        what = f"{basis.activation} transcoder" if basis.reads is not None else basis.activation
        raise refuse(
            "SAELens", f"a {what} basis", "SAELens writes relu, topk, jumprelu, and relu or jumprelu transcoders."
        )
    if basis.threshold is not None and (basis.threshold < 0).any():
        raise refuse("SAELens", "thresholds below zero", "SAELens passes nothing below zero.")
    assert basis.decoder is not None
    assert basis.encoder is not None
    encoder, n = basis.encoder.astype(np.float32), basis.n_units
    bias = np.zeros(n, np.float32) if basis.encoder_bias is None else basis.encoder_bias.astype(np.float32)
    taken, added = basis.decoder_bias, basis.output_bias
    applied = basis.reads is None and taken is not None and (added is None or np.array_equal(added, taken))
    if added is None:
        added = taken if basis.reads is None else None
    if taken is not None and not applied:
        bias = (bias - basis.encoder.astype(np.float64) @ taken.astype(np.float64)).astype(np.float32)
    width = basis.decoder.shape[1]
    tensors = {
        "W_enc": encoder.T,
        "b_enc": bias,
        "W_dec": basis.decoder,
        "b_dec": np.zeros(width, np.float32) if added is None else added,
    }
    if basis.threshold is not None:
        tensors["threshold"] = basis.threshold
    if basis.skip is not None:
        kind, tensors["W_skip"] = kind.replace("transcoder", "skip_transcoder"), basis.skip
    metadata: dict[str, Any] = {
        "model_name": model,
        "hook_name": where,
        "hook_head_index": None,
        "sae_lens_version": "6.0.0",
        **conditions,
    }
    cfg: dict[str, Any] = {
        "architecture": kind,
        "d_in": encoder.shape[1],
        "d_sae": n,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": applied,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    if basis.reads is not None:
        cfg["d_out"] = width
        metadata |= {"hook_name": read, "hook_name_out": where}
    if basis.k is not None:
        cfg["k"] = basis.k
    cfg["metadata"] = metadata
    return cfg, {name: np.ascontiguousarray(a, dtype=np.float32) for name, a in tensors.items()}
