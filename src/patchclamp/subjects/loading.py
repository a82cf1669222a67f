"""From a name or folder to a model in the rig, never running code that came with it."""

import os
import warnings
from typing import Any

import numpy as np
import torch

from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError, PatchclampWarning, lacks_memory
from patchclamp.core.unit import slug
from patchclamp.subjects.config_sizes import limit_construction, refuse_other_config
from patchclamp.subjects.hashing import files_hash
from patchclamp.subjects.images import Preparation
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.load_errors import explain, refuse_kind, refuse_lack
from patchclamp.subjects.placement import arrange_weights, refuse_device
from patchclamp.subjects.vision import VisionModel
from patchclamp.subjects.weights import Checkpoint, find_checkpoint

LARGE = 10**9
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


IMAGES = "ForImageClassification"
"""How transformers' classes end that answer images with classes."""
MASKED = ("ForMaskedLM", "ForPreTraining")
"""How those end that fill in masks; the second also predict which sentence follows."""
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)


def load_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> LanguageModel | VisionModel:
    """Load a model by the class that its config names: images for classifiers of images, else language.

    Arguments, errors and cost are those of ``load_language_model``.

    Returns:
        LanguageModel | VisionModel: the loaded model, in evaluation mode.
    """
    _check_options(device, dtype)
    checkpoint = find_checkpoint(name)
    load = _vision if any(each.endswith(IMAGES) for each in checkpoint.classes) else _language
    return load(checkpoint, name, device, dtype, attention)


def load_vision_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> VisionModel:
    """Load an image classifier with its image processor, from a local folder or by its Hugging Face name.

    Arguments, errors and cost are those of ``load_language_model``. The processors that run on Pillow are used; without
    one beside the model, whole numbers are divided by 255 and images must have the size that the config says.

    Returns:
        VisionModel: the loaded model, in evaluation mode.
    """
    _check_options(device, dtype)
    return _vision(find_checkpoint(name), name, device, dtype, attention)


def load_language_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> LanguageModel:
    """Load a language model from a local folder or by its Hugging Face name.

    Args:
        name: folder with config.json and safetensors, or a name on the hub.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``: accelerate places the weights, on the disk what
            fits nowhere else; ``auto:cpu=8GiB,cuda:0=20GiB`` bounds what each takes.
        dtype: ``float32``, ``bfloat16`` or ``float16`` (default: the checkpoint's own).
        attention: ``eager`` or ``sdpa`` (default: transformers' choice).

    Returns:
        LanguageModel: the loaded model, in evaluation mode.

    Raises:
        PatchclampError: nothing there, pickled weights or some outside the folder, remote code, weights that are
            missing or that the config has no place for, a network of another kind, unknown dtype or device.

    Cost: reads the weights once, and once more for their hash until they have been at rest for two seconds.
    """
    _check_options(device, dtype)
    return _language(find_checkpoint(name), name, device, dtype, attention)


def _check_options(device: str, dtype: str | None) -> None:
    if dtype is not None:
        one_of("dtype", dtype, DTYPES)
    refuse_device(device)


def _vision(checkpoint: Checkpoint, name: str, device: str, dtype: str | None, attention: str | None) -> VisionModel:
    model = _load_checkpoint(checkpoint, "AutoModelForImageClassification", device, dtype, attention)
    prepare = preparation_of(model, _processor(checkpoint, name))
    loaded = VisionModel(model, prepare, name=_slug(checkpoint, name), hash=files_hash(checkpoint.files))
    try:
        loaded.n_answers  # noqa: B018  one forward over a blank image: processor and network must agree
    except (ValueError, RuntimeError, TypeError) as problem:
        raise PatchclampError(
            expected="an image processor whose images the network takes",
            got=f"{' x '.join(map(str, loaded.prepare.shape))} (channel, y, x): {problem}"[:200],
            remedy="Compare the sizes in preprocessor_config.json and config.json.",
        ) from problem
    return loaded


def _language(
    checkpoint: Checkpoint, name: str, device: str, dtype: str | None, attention: str | None
) -> LanguageModel:
    refuse_kind(checkpoint)
    # Asked for a causal model, transformers would make one of a masked one.
    masked = any(each.endswith(MASKED) for each in checkpoint.classes)
    auto = "AutoModelForMaskedLM" if masked else "AutoModelForCausalLM"
    model = _load_checkpoint(checkpoint, auto, device, dtype, attention)
    _refuse_idle(checkpoint, model)
    tokenizer = _tokenizer(checkpoint, name)
    return LanguageModel(model, tokenizer, name=_slug(checkpoint, name), hash=files_hash(checkpoint.files))


def _refuse_idle(checkpoint: Checkpoint, model: Any) -> None:
    """Run one token through a network: a config can hold what loads and does not compute."""
    device = "cpu" if model.device.type == "meta" else model.device  # all of it stays on the disk
    try:
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device))
    except Exception as problem:  # each architecture fails in its own way
        if lacks_memory(problem):
            raise
        raise PatchclampError(
            expected="a network that computes",
            got=f"{checkpoint.folder}: {type(problem).__name__}: {problem}"[:300],
            remedy="config.json may be damaged: fetch it again.",
        ) from problem


def _slug(checkpoint: Checkpoint, name: str) -> str:
    return slug(str(checkpoint.folder.resolve())) if checkpoint.commit is None else name


def _load_checkpoint(checkpoint: Checkpoint, auto: str, device: str, dtype: str | None, attention: str | None) -> Any:
    """Return what one of transformers' auto classes loads from the files of a checkpoint."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    if checkpoint.bytes < LARGE:
        logging.disable_progress_bar()  # a bar that is over at once is noise
    read: Any = getattr(transformers, auto).from_pretrained
    placed = arrange_weights(device)
    try:
        with limit_construction(checkpoint):
            model, info = read(
                str(checkpoint.folder),
                dtype=DTYPES[dtype] if dtype else "auto",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **({"attn_implementation": attention} if attention else {}),
                **placed,
            )
    except Exception as problem:  # transformers raises many kinds; each becomes one message with a remedy
        raise explain(checkpoint, problem) from problem
    if info["missing_keys"] or info.get("mismatched_keys"):
        raise refuse_lack(checkpoint, sorted(map(str, [*info["missing_keys"], *info.get("mismatched_keys", [])])))
    layers = getattr(model.config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers < 1:
        raise PatchclampError(
            expected="a network with layers",
            got=f"{layers} in config.json of {checkpoint.folder}",
            remedy="Fetch the file again.",
        )
    unused = refuse_other_config(checkpoint, model, sorted(map(str, info.get("unexpected_keys") or ())))
    if unused:
        warnings.warn(
            f"{len(unused):,} of the tensors of {checkpoint.folder} are no part of {type(model).__name__} and are not "
            f"used, such as {unused[0]}",
            PatchclampWarning,
            stacklevel=4,
        )
    if not placed:
        try:
            model = model.to(device)
        except (RuntimeError, AssertionError) as problem:
            raise PatchclampError(
                expected="a device of this machine", got=f"{device!r}: {problem}"[:160], remedy="Use --device cpu."
            ) from problem
    return model


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
        like = Preparation(processor, shape=(channels, 0, 0)).preprocess(blank)
        return Preparation(processor, shape=(channels, like.shape[1], like.shape[2]))
    if size is None:
        raise PatchclampError(
            expected="an image processor beside the model (preprocessor_config.json)",
            got=f"none, and a {type(model).__name__} takes images of any size",
            remedy="Fetch that file too, or use pc.wrap(module, example, prepare=…) in Python.",
        )
    return Preparation(None, shape=(channels, int(height), int(width)))


def _processor(checkpoint: Checkpoint, name: str) -> Any:
    from transformers import AutoImageProcessor

    source = str(checkpoint.folder) if checkpoint.commit is None else name
    try:
        return AutoImageProcessor.from_pretrained(
            source, revision=checkpoint.commit, backend="pil", trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as problem:
        if (checkpoint.folder / "preprocessor_config.json").is_file():
            raise _unread(checkpoint, "an image processor in preprocessor_config.json", problem) from problem
        return None  # a model without one; its config may still say the size
    except (TypeError, AttributeError, RecursionError) as problem:
        raise _unread(checkpoint, "an image processor in preprocessor_config.json", problem) from problem


def _unread(checkpoint: Checkpoint, expected: str, problem: Exception) -> PatchclampError:
    return PatchclampError(
        expected=expected,
        got=f"{checkpoint.folder}: {type(problem).__name__} {problem}"[:200],
        remedy="Fetch that file again, or take it out of the folder: the model then loads without.",
    )


def _tokenizer(checkpoint: Checkpoint, name: str) -> Any:
    """Return the tokenizer beside the weights; None where there is none: the model is then shown token ids."""
    from transformers import AutoTokenizer

    source = str(checkpoint.folder) if checkpoint.commit is None else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=checkpoint.commit, trust_remote_code=False)
        tokenizer("a")  # what a file says of lengths and tokens may be read only now
    except Exception as problem:  # a tokenizer's files can be wrong in as many ways as there are kinds
        there = [each for each in _VOCABULARIES if (checkpoint.folder / each).is_file()]
        if there:
            raise _unread(checkpoint, f"a tokenizer in {there[0]}", problem) from problem
        return None
    # Without files transformers invents one that knows the special tokens, and no word.
    words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) - set(tokenizer.added_tokens_encoder)
    return tokenizer if len(words) > 1 else None
