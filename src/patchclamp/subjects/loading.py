"""Loading: from a name or folder to a model in the rig, never running code that came with it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import slug
from patchclamp.subjects.identity import folder_hash
from patchclamp.subjects.images import Preparation
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.vision import VisionModel

LARGE = 10**9
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


IMAGES = "ForImageClassification"
"""How transformers' classes end that answer images with classes."""


def load_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> LanguageModel | VisionModel:
    """Load a model by the class that its config names: images for classifiers of images, else language.

    Arguments, errors and cost are those of ``load_language_model``.
    """
    seen = any(each.endswith(IMAGES) for each in _classes_named(name))
    kind = load_vision_model if seen else load_language_model
    return kind(name, device=device, dtype=dtype, attention=attention)


def load_vision_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> VisionModel:
    """Load an image classifier with its image processor, from a local folder or by its Hugging Face name.

    Arguments, errors and cost are those of ``load_language_model``. The processors that run on Pillow are used; without
    one beside the model, whole numbers are divided by 255 and images must have the size that the config says.
    """
    model, slugged, known = _loaded(name, "AutoModelForImageClassification", device, dtype, attention)
    loaded = VisionModel(model, preparation_of(model, _processor(name)), name=slugged, hash=known)
    try:
        loaded.n_answers  # noqa: B018  one forward over a blank image: processor and network must agree
    except (ValueError, RuntimeError, TypeError) as problem:
        raise PatchclampError(
            expected="an image processor whose images the network takes",
            got=f"{' x '.join(map(str, loaded.prepare.shape))} (channel, y, x): {problem}"[:200],
            remedy="Compare the sizes in preprocessor_config.json and config.json.",
        ) from problem
    return loaded


def preparation_of(model: Any, processor: Any = None) -> Preparation:
    """Return the preparation of a Hugging Face image model: its processor, and the shape that comes out of it.

    Raises:
        PatchclampError: neither processor nor config says the size.
    """
    config = getattr(model.config, "vision_config", model.config)
    channels, size = int(getattr(config, "num_channels", 3)), getattr(config, "image_size", None)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    if processor is not None:
        # A processor that does not resize leaves what comes in: then the config's size is what must come.
        blank = np.zeros((height or 64, width or 64, channels), dtype=np.uint8)
        like = Preparation(processor, shape=(channels, 0, 0)).processed(blank)
        return Preparation(processor, shape=(channels, like.shape[1], like.shape[2]))
    if size is None:
        raise PatchclampError(
            expected="an image processor beside the model (preprocessor_config.json)",
            got=f"none, and a {type(model).__name__} takes images of any size",
            remedy="Fetch that file too, or use pc.wrap(module, example, prepare=…) in Python.",
        )
    return Preparation(None, shape=(channels, int(height), int(width)))


def load_language_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> LanguageModel:
    """Load a language model from a local folder or by its Hugging Face name.

    Args:
        name: folder with config.json and safetensors, or a name on the hub.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` (accelerate places the weights).
        dtype: ``float32``, ``bfloat16`` or ``float16``; the checkpoint's own where left out.
        attention: ``eager`` or ``sdpa``; transformers' choice where left out.

    Raises:
        PatchclampError: nothing there, pickled weights, remote code, missing weights, unknown dtype or device.

    Cost: reads the weights once, and once more for their hash the first time.
    """
    # Asked for a causal model, transformers would make one of a masked one.
    masked = any(each.endswith("ForMaskedLM") for each in _classes_named(name))
    auto = "AutoModelForMaskedLM" if masked else "AutoModelForCausalLM"
    model, slugged, known = _loaded(name, auto, device, dtype, attention)
    return LanguageModel(model, _tokenizer(name), name=slugged, hash=known)


def _loaded(name: str, auto: str, device: str, dtype: str | None, attention: str | None) -> tuple[Any, str, str | None]:
    """Return what one of transformers' auto classes loads, its slug and its hash."""
    if dtype is not None and dtype not in DTYPES:
        raise PatchclampError(
            expected=f"a dtype among {', '.join(DTYPES)}", got=repr(dtype), remedy="Choose one of these."
        )
    if device == "meta":
        raise PatchclampError(expected="a device that computes", got="'meta'", remedy="Use --device cpu.")
    folder = Path(name)
    local = folder.exists() or name.startswith((".", "/", "~"))
    if folder.is_file():
        raise PatchclampError(
            expected="a model folder with config.json and safetensors weights",
            got=f"{folder}, a file",
            remedy="A recorded brain is for `patchclamp info` and `survey`; it cannot be run or clamped.",
        )
    if local:
        _check_folder(folder)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    logging.set_verbosity_error()
    hub_logging.set_verbosity(hub_logging.CRITICAL)  # its retries; the error below says what failed
    if local and sum(f.stat().st_size for f in folder.glob("*.safetensors")) < LARGE:
        logging.disable_progress_bar()  # a bar that is over at once is noise
    read: Any = getattr(transformers, auto).from_pretrained
    placed: dict[str, Any] = {"device_map": "auto"} if device == "auto" else {}
    try:
        model, info = read(
            name,
            dtype=DTYPES[dtype] if dtype else "auto",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **({"attn_implementation": attention} if attention else {}),
            **placed,
        )
    except Exception as problem:  # transformers raises many kinds; each becomes one message with a remedy
        raise _explain(name, local, problem) from problem
    if info["missing_keys"] or info.get("mismatched_keys"):
        lost = sorted(map(str, [*info["missing_keys"], *info.get("mismatched_keys", [])]))
        raise PatchclampError(
            expected="weights for every parameter",
            got=f"{len(lost)} missing or misshapen, such as {lost[0]}",
            remedy="The files are incomplete or belong to another config; fetch the model again.",
        )
    if device != "auto":
        try:
            model = model.to(device)
        except (RuntimeError, AssertionError) as problem:
            raise PatchclampError(
                expected="a device of this machine", got=f"{device!r}: {problem}"[:160], remedy="Use --device cpu."
            ) from problem
    return model, slug(str(folder.resolve()) if local else name), _hash(name, local, model)


def _classes_named(name: str) -> list[str]:
    """Return the classes that a model's config names; none where it cannot be read, which loading then tells."""
    from transformers import PretrainedConfig

    try:
        found, _ = PretrainedConfig.get_config_dict(name)
        return [str(each) for each in found.get("architectures") or ()]
    except Exception:  # no file, no network, no JSON: loading says which
        return []


def _processor(name: str) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(name, backend="pil", trust_remote_code=False)
    except (OSError, ValueError, KeyError):  # a model without one; its config may still say the size
        return None
    except (TypeError, AttributeError) as problem:
        raise PatchclampError(
            expected="an image processor in preprocessor_config.json",
            got=f"{name}: {type(problem).__name__} {problem}"[:200],
            remedy="Fetch that file again.",
        ) from problem


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise PatchclampError(
            expected="a model folder with config.json and safetensors weights",
            got=f"{folder}, {'without config.json' if folder.is_dir() else 'which is not there'}",
            remedy="Check the path, or give a Hugging Face name such as openai-community/gpt2.",
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as problem:
        raise PatchclampError(
            expected="config.json in JSON", got=f"{folder}/config.json: {problem}", remedy="Fetch the file again."
        ) from problem
    if "auto_map" in config:
        raise PatchclampError(
            expected="an architecture that transformers itself knows",
            got=f"{folder}, which brings its own Python code",
            remedy="Read that code; if you trust it, load the model yourself and use patchclamp.wrap in Python.",
        )
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern))
        raise PatchclampError(
            expected="weights as safetensors",
            got=f"{folder}, with {'pickled weights ' + pickled[0] if pickled else 'no weights'}",
            remedy="Loading a pickle can run anything: convert it once where you trust it "
            "(model.save_pretrained(folder, safe_serialization=True))."
            if pickled
            else "Fetch the model again.",
        )


def _explain(name: str, local: bool, problem: Exception) -> PatchclampError:
    text = f"{type(problem).__name__}: {problem}".splitlines()[0][:200]
    if "trust_remote_code" in str(problem):
        remedy = "It brings its own Python code: load it yourself if you trust it, and use patchclamp.wrap."
    elif "out of memory" in str(problem):
        remedy = "Use --dtype bfloat16, a smaller model, or --device auto."
    elif local:
        remedy = (
            "The folder is damaged or of an architecture this transformers does not know; fetch it again or update."
        )
    else:
        remedy = "Check the name and the connection, or give a local folder."
    return PatchclampError(expected=f"a model that transformers loads from {name}", got=text, remedy=remedy)


def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception:  # a model without a tokenizer is shown token ids; asking it for text names the lack
        return None


def _hash(name: str, local: bool, model: Any) -> str | None:
    if local:
        return folder_hash(Path(name))
    from transformers.utils import cached_file

    config = cached_file(name, "config.json", local_files_only=True)
    return folder_hash(Path(config).parent) if config else None
