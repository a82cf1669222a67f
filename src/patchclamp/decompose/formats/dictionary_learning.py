"""dictionary_learning: ``config.json`` beside the tensors of ``ae.pt``, written again as ``ae.safetensors``.

The library saves pickles, which are never loaded; ``save_file(torch.load("ae.pt", weights_only=True), …)`` keeps every
name. The facts are those of its public source (github.com/saprmarks/dictionary_learning: ``dictionary.py``,
``trainers/*.py``); ‖d‖ is a unit's norm of D:

| ``dict_class`` | f | x̂ |
|---|---|---|
| AutoEncoder | max((x − bias) Eᵀ + b, 0) | f Dᵀ + bias |
| AutoEncoderNew | max(x Eᵀ + b, 0) | f Dᵀ + decoder.bias |
| AutoEncoderTopK | the k largest of max((x − b_dec) Eᵀ + b, 0) | f Dᵀ + b_dec |
| BatchTopKSAE, MatryoshkaBatchTopKSAE | max((x − b_dec) Eᵀ + b, 0) where it is > ``threshold`` | f Dᵀ + b_dec |
| JumpReluAutoEncoder | ‖d‖ max(a, 0) where a > threshold, a = x W_enc + b_enc | f / ‖d‖ W_dec + b_dec |
| GatedAutoEncoder | ‖d‖ max(e^{r_mag} ⊙ π + mag_bias, 0) where π + gate_bias > 0 | f / ‖d‖ Dᵀ + decoder_bias |

Their ``threshold`` is below zero where none was measured: the k largest of each batch, which no Basis keeps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.decompose.formats.files import Part, fit, read_settings, read_tensors, refuse, whole_k
from patchclamp.decompose.formats.site_names import module_site

SETTINGS, WEIGHTS, PICKLE = "config.json", "ae.safetensors", "ae.pt"
RESIDUAL = "resid_post"
LINEAR: dict[str, tuple[str, ...]] = {
    "encoder.weight": ("unit", "in"),
    "encoder.bias": ("unit",),
    "decoder.weight": ("in", "unit"),
}


def read(folder: Path) -> Part:
    """Read one folder.

    Raises:
        PatchclampError: a class that no Basis has.
        Damaged: files that are missing or do not fit.
    """
    cfg, file = read_settings(folder / SETTINGS), folder / WEIGHTS
    trainer = cfg.get("trainer")
    trainer = trainer if isinstance(trainer, Mapping) else cfg
    kind, arrays = str(trainer.get("dict_class")), read_tensors(file)
    match kind:
        case "AutoEncoder":
            fit(file, arrays, {**LINEAR, "bias": ("in",)})
            parts = {"activation": "relu", **_linear(arrays), "decoder_bias": arrays["bias"]}
        case "AutoEncoderNew":
            fit(file, arrays, {**LINEAR, "decoder.bias": ("in",)})
            parts = {"activation": "relu", **_linear(arrays), "output_bias": arrays["decoder.bias"]}
        case "AutoEncoderTopK":
            fit(file, arrays, {**LINEAR, "b_dec": ("in",)})
            k = whole_k(trainer.get("k", arrays.get("k")), "dictionary_learning")
            parts = {
                "activation": "topk",
                "k": whole_k(k, "dictionary_learning"),
                **_linear(arrays),
                "decoder_bias": arrays["b_dec"],
            }
        case "BatchTopKSAE" | "MatryoshkaBatchTopKSAE":
            parts = _batch_topk(file, arrays)
        case "JumpReluAutoEncoder":
            fit(
                file,
                arrays,
                {"W_enc": ("in", "unit"), "b_enc": ("unit",), "W_dec": ("unit", "in"), "b_dec": ("in",)}
                | {"threshold": ("unit",)},
            )
            parts = _jump(arrays["W_enc"].T, arrays["b_enc"], arrays["threshold"], arrays["W_dec"])
            parts["output_bias"] = arrays["b_dec"]
        case "GatedAutoEncoder":
            vectors = dict.fromkeys(("r_mag", "gate_bias", "mag_bias"), ("unit",))
            linear = {name: axes for name, axes in LINEAR.items() if name != "encoder.bias"}
            fit(file, arrays, {**linear, **vectors, "decoder_bias": ("in",)})
            gain = np.exp(arrays["r_mag"])
            threshold = arrays["mag_bias"] - gain * arrays["gate_bias"]
            encoder = arrays["encoder.weight"] * gain[:, None]
            parts = _jump(encoder, arrays["mag_bias"], threshold, arrays["decoder.weight"].T)
            parts["decoder_bias"] = arrays["decoder_bias"]
        case _:
            raise refuse("dictionary_learning", f"the class {kind!r}")
    site = _site(trainer)
    return Part(parts, site, None, False, str(trainer.get("lm_name") or "").rpartition("/")[2], {"architecture": kind})


def _linear(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        "encoder": arrays["encoder.weight"],
        "encoder_bias": arrays["encoder.bias"],
        "decoder": np.ascontiguousarray(arrays["decoder.weight"].T),
    }


def _batch_topk(file: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the parts of a coder that keeps what is above one threshold; Matryoshka's arrays lie the other way."""
    if "W_enc" in arrays:
        shapes = {"W_enc": ("in", "unit"), "b_enc": ("unit",), "W_dec": ("unit", "in"), "b_dec": ("in",)}
        fit(file, arrays, shapes)
        linear = {"encoder": arrays["W_enc"].T, "encoder_bias": arrays["b_enc"], "decoder": arrays["W_dec"]}
    else:
        fit(file, arrays, {**LINEAR, "b_dec": ("in",)})
        linear = _linear(arrays)
    threshold = float(arrays.get("threshold", np.full(1, -1.0)).reshape(-1)[0])
    if threshold < 0:
        raise refuse(
            "dictionary_learning",
            "a batch-top-k coder without a threshold: it keeps the k largest of a whole batch",
            "Train it on until the library has measured its threshold.",
        )
    cut = np.full(len(linear["decoder"]), threshold, np.float32)
    return {"activation": "jumprelu", "threshold": cut, **linear, "decoder_bias": arrays["b_dec"]}


def _jump(encoder: np.ndarray, bias: np.ndarray, threshold: np.ndarray, decoder: np.ndarray) -> dict[str, Any]:
    """Return the parts of f = ‖d‖ max(a, 0) where a > θ: ‖d‖ moves into the encoder and out of the decoder."""
    norms = np.linalg.norm(decoder, axis=1)
    norms[norms == 0] = 1
    return {
        "activation": "jumprelu",
        "threshold": np.maximum(threshold, 0) * norms,
        "encoder": encoder * norms[:, None],
        "encoder_bias": bias * norms,
        "decoder": decoder / norms[:, None],
    }


def _site(trainer: Mapping[str, Any]) -> str | None:
    """Return the site that the settings name: a module, or a layer's residual stream, the library's default."""
    layer, module = trainer.get("layer"), trainer.get("submodule_name")
    if isinstance(module, str) and not module.startswith(RESIDUAL):
        return module_site(module)
    return f"blocks.{layer}.resid_out" if isinstance(layer, int) and not isinstance(layer, bool) else None
