"""circuit-tracer: ``config.yaml`` beside one safetensors file a layer; transcoders, and cross-layer transcoders (CLTs).

The facts are those of circuit-tracer's public source (github.com/safety-research/circuit-tracer:
``transcoder/single_layer_transcoder.py``, ``transcoder/cross_layer_transcoder.py``, ``utils/hf_utils.py``):

    a = x W_encᵀ + b_enc     f = max(a, 0), or a where a > threshold, or the k largest of a     x̂ = f W_dec + b_dec

| ``model_kind`` | files | arrays |
|---|---|---|
| ``transcoder_set`` | ``layer_3.safetensors`` | W_enc (unit, in), b_enc, W_dec (unit, out), b_dec |
| | | in some ``activation_function.threshold``, W_skip (out, in), k |
| ``cross_layer_transcoder`` | ``W_enc_3.safetensors`` | W_enc_3 (unit, in), b_enc_3, b_dec_3; threshold_3 in some |
| | ``W_dec_3.safetensors`` | W_dec_3 (unit, layer, out): what a unit of layer 3 adds to layers 3, 4, … |

``feature_input_hook`` and ``feature_output_hook`` name hooks of TransformerLens without the block. In a set,
``activation: topk`` keeps k units.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from patchclamp.core.disk import plain_file
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.decompose.formats.files import LONGEST, Part, fit, read_tensors, refuse, whole_k
from patchclamp.decompose.formats.site_names import site_of

SETTINGS, FIRST_OF_SET, FIRST_OF_CROSS = "config.yaml", "layer_0.safetensors", "W_enc_0.safetensors"
KINDS = {"transcoder_set": FIRST_OF_SET, "cross_layer_transcoder": FIRST_OF_CROSS}
THRESHOLD = "activation_function.threshold"
READS, WRITES = "hook_resid_mid", "hook_mlp_out"
"""What the library takes where no config.yaml names the hooks."""
MODULES = {"mlp.hook_in": "mlp.in", "mlp.hook_out": "mlp.out"}
CONDITIONS = {"centred": False, "prepend_bos": True}
"""The library loads models without centring, and puts a BOS token before every text."""


def is_here(folder: Path) -> bool:
    """Return whether a folder holds a set or a cross-layer transcoder."""
    return any((folder / first).is_file() for first in (FIRST_OF_SET, FIRST_OF_CROSS)) or "model_kind" in _head(folder)


def read(folder: Path, only: int | None = None) -> list[Part]:
    """Read every layer of one folder, or one layer of a set.

    Raises:
        PatchclampError: files that lie elsewhere, an activation that no Basis has.
        Damaged: files that are missing or do not fit.
    """
    cfg = _settings(folder)
    kind = str(cfg.get("model_kind") or next((k for k, first in KINDS.items() if (folder / first).is_file()), ""))
    if kind not in KINDS:
        raise refuse("circuit-tracer", f"the kind {kind!r}", f"It knows {' and '.join(KINDS)}.")
    if cfg.get("transcoders") and not (folder / KINDS[kind]).is_file():
        files = cfg["transcoders"]
        named = ", ".join(map(str, files[:2])) if isinstance(files, list) else str(files)[:200]
        raise refuse(
            "circuit-tracer",
            f"a config.yaml that names files of another repository: {named}",
            "Name the folder in which those files lie.",
        )
    stem = KINDS[kind].removesuffix("_0.safetensors")
    numbers = {
        int(m[1]) for f in folder.iterdir() if (m := re.fullmatch(rf"{stem}_(0|[1-9][0-9]*)\.safetensors", f.name))
    }
    if only is None and (numbers != set(range(len(numbers))) or not numbers):
        raise Damaged(
            expected=f"{stem}_0.safetensors and every number after it",
            got=f"{folder} with {', '.join(map(str, sorted(numbers))) or 'none'}",
            remedy="Fetch the folder again.",
        )
    each = _layer_of_set if kind == "transcoder_set" else _layer_of_cross
    chosen = sorted(numbers) if only is None else [only]
    return [each(folder, cfg, layer, len(numbers)) for layer in chosen]


def _layer_of_set(folder: Path, cfg: Mapping[str, Any], layer: int, _n_layers: int) -> Part:
    file = folder / f"layer_{layer}.safetensors"
    arrays = read_tensors(file)
    shapes: dict[str, tuple[str, ...]] = {
        "W_enc": ("unit", "in"),
        "b_enc": ("unit",),
        "W_dec": ("unit", "out"),
        "b_dec": ("out",),
    }
    if "W_skip" in arrays:
        shapes["W_skip"] = ("out", "in")
    if THRESHOLD in arrays:
        shapes[THRESHOLD] = ("unit",)
        arrays[THRESHOLD] = arrays[THRESHOLD].reshape(-1)
    fit(file, arrays, shapes)
    named = cfg.get("activation")
    if named not in (None, "relu", "topk", "jump_relu", "jumprelu"):
        raise refuse("circuit-tracer", f"the activation {named!r}")
    parts: dict[str, Any] = {"activation": "relu"}
    if named == "topk" or (named is None and "k" in arrays):
        parts = {"activation": "topk", "k": whole_k(cfg.get("k", arrays.get("k")), "circuit-tracer")}
    elif THRESHOLD in arrays and named != "relu":
        parts = {"activation": "jumprelu", "threshold": arrays[THRESHOLD]}
    if "W_skip" in arrays:
        parts["skip"] = arrays["W_skip"]
    parts |= {
        "encoder": arrays["W_enc"],
        "encoder_bias": arrays["b_enc"],
        "decoder": arrays["W_dec"],
        "output_bias": arrays["b_dec"],
    }
    return _part(cfg, layer, parts, {})


def _layer_of_cross(folder: Path, cfg: Mapping[str, Any], layer: int, layers: int) -> Part:
    file = folder / f"W_enc_{layer}.safetensors"
    arrays = {name.removesuffix(f"_{layer}"): array for name, array in read_tensors(file).items()}
    decoders = folder / f"W_dec_{layer}.safetensors"
    arrays["W_dec"] = read_tensors(decoders).get(f"W_dec_{layer}", np.zeros(0, np.float32))
    shapes: dict[str, tuple[str, ...]] = {
        "W_enc": ("unit", "in"),
        "b_enc": ("unit",),
        "W_dec": ("unit", "layers from here", "out"),
        "b_dec": ("out",),
    }
    if "threshold" in arrays:
        shapes["threshold"] = ("unit",)
        arrays["threshold"] = arrays["threshold"].reshape(-1)
    sizes = fit(file, arrays, shapes)
    if sizes["layers from here"] != layers - layer:
        raise Damaged(
            expected=f"decoders for {layers - layer} layers in {decoders.name}",
            got=f"{sizes['layers from here']}",
            remedy="Fetch the folder again; parts of two dictionaries may be mixed.",
        )
    jumps = {"activation": "jumprelu", "threshold": arrays["threshold"]} if "threshold" in arrays else {}
    parts: dict[str, Any] = {
        "activation": "relu",
        **jumps,
        "encoder": arrays["W_enc"],
        "encoder_bias": arrays["b_enc"],
        "decoder": np.ascontiguousarray(arrays["W_dec"][:, 0]),
        "output_bias": arrays["b_dec"],
    }
    later = {layer + n: np.ascontiguousarray(arrays["W_dec"][:, n]) for n in range(1, layers - layer)}
    return _part(cfg, layer, parts, later)


def _part(cfg: Mapping[str, Any], layer: int, parts: dict[str, Any], later: Mapping[int, np.ndarray]) -> Part:
    """Return one layer's part; a hook that is no site here leaves its site open."""
    reads, writes = str(cfg.get("feature_input_hook") or READS), str(cfg.get("feature_output_hook") or WRITES)
    places = [(layer, reads), *((n, writes) for n in (layer, *later))]
    # Hooks of MLP modules are sites whatever norms stand beside them; others a model's own norms place.
    hooks = {
        site: f"blocks.{n}.{hook}" for n, hook in places if hook not in MODULES and (site := _site(n, hook)) is not None
    }
    site, read_at = _site(layer, writes), _site(layer, reads)
    if site is None and later:
        raise refuse("circuit-tracer", f"feature_output_hook {writes!r}, which is no site here")
    if later:
        parts["further"] = {str(_site(n, writes)): decoder for n, decoder in later.items()}
    about = {"architecture": str(cfg.get("model_kind") or "")}
    model = str(cfg.get("model_name") or "").rpartition("/")[2]
    if read_at is None and site is not None:
        raise PatchclampError(
            expected="a transcoder that reads a site",
            got=f"feature_input_hook {reads!r}: what a norm gives before its gain, which is no site here",
            remedy="Fold the gain into the encoder (W_enc / gain) and name mlp.hook_in in config.yaml.",
        )
    return Part(parts, site, read_at, True, model, about, hooks, CONDITIONS)


def _site(layer: int, hook: str) -> str | None:
    return f"module.layers.{layer}.{MODULES[hook]}" if hook in MODULES else site_of(f"blocks.{layer}.{hook}")


def _head(folder: Path) -> dict[str, Any]:
    try:
        return _settings(folder)
    except PatchclampError:
        return {}


def _settings(folder: Path) -> dict[str, Any]:
    """Return what config.yaml says; nothing where there is none.

    Raises:
        Damaged: it is no mapping of plain values.
    """
    file = folder / SETTINGS
    if not file.exists():
        return {}
    try:
        with plain_file(file).open(encoding="utf-8") as opened:
            text = opened.read(LONGEST + 1)
        # Aliases can grow without bound; no settings need them.
        if len(text) > LONGEST or re.search(r"[:\-\[{,]\s*[&*]\w", text):
            raise ValueError("too long, or with references")
        settings = yaml.safe_load(text)
        if not isinstance(settings, dict):
            raise ValueError(f"a {type(settings).__name__}")
    except (OSError, ValueError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as problem:
        # Yaml raises the third and fourth where a value is not of the type that its tag says.
        raise Damaged(
            expected="settings as one YAML mapping",
            got=f"{file}: {problem or type(problem).__name__}"[:300],
            remedy="Fetch or save the folder again.",
        ) from problem
    return {str(key): value for key, value in settings.items()}
