"""From a name or folder to a model in the rig, never running code that came with it."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patchclamp.core.checks import one_of
from patchclamp.core.errors import PatchclampError, PatchclampWarning, lacks_memory
from patchclamp.core.unit import slug
from patchclamp.subjects.adapters import Adapter, find_model, merge_adapter
from patchclamp.subjects.classifier import TextClassifier, is_classifier
from patchclamp.subjects.config_sizes import limit_construction, refuse_other_config
from patchclamp.subjects.hashing import files_hash
from patchclamp.subjects.images import Preparation
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.load_errors import (
    CLASSIFIERS,
    explain,
    names,
    newer_transformers,
    refuse_kind,
    refuse_lack,
    refuse_memory,
    refuse_quantiser,
)
from patchclamp.subjects.placement import arrange_weights, refuse_device
from patchclamp.subjects.vision import VisionModel
from patchclamp.subjects.weights import Checkpoint

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
    name: str,
    *,
    base: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    attention: str | None = None,
) -> LanguageModel | VisionModel:
    """Load a model by the class that its config names: images for classifiers of images, else text.

    Args:
        name: folder with config.json and safetensors, or a name on the hub, with ``@`` and a branch, tag or commit
            behind it where not the newest is meant; of an adapter likewise.
        base: of an adapter, the model that it is merged into, where not the one that its config names.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` (accelerate places the weights).
        dtype: ``float32``, ``bfloat16`` or ``float16`` (default: the checkpoint's own).
        attention: ``eager`` or ``sdpa`` (default: transformers' choice).

    Returns:
        LanguageModel | VisionModel: the loaded model, in evaluation mode; a ``TextClassifier`` of a classifier of
            texts or a reward model.

    Raises:
        PatchclampError: nothing there, pickled weights or some outside the folder, remote code, weights that are
            missing or that the config has no place for, an adapter that cannot be merged, a network of another kind,
            unknown dtype or device.

    Cost: reads the weights once, and once more for their hash until they have been at rest for two seconds.
    """
    _check_options(device, dtype)
    source = Source(name, *find_model(name, base))
    load = _vision if any(each.endswith(IMAGES) for each in source.checkpoint.classes) else _language
    return load(source, Placement(device, dtype, attention))


def load_vision_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> VisionModel:
    """Load an image classifier with its image processor, from a local folder or by its Hugging Face name.

    Arguments, errors and cost are those of ``load_model``. The processors that run on Pillow are used; without one
    beside the model, whole numbers are divided by 255 and images must have the size that the config says.

    Returns:
        VisionModel: the loaded model, in evaluation mode.
    """
    _check_options(device, dtype)
    return _vision(Source(name, *find_model(name)), Placement(device, dtype, attention))


def load_language_model(
    name: str, *, device: str = "cpu", dtype: str | None = None, attention: str | None = None
) -> LanguageModel:
    """Load a language model, or a classifier of texts, from a local folder or by its Hugging Face name.

    Arguments, errors and cost are those of ``load_model``.

    Returns:
        LanguageModel: the loaded model, in evaluation mode.
    """
    _check_options(device, dtype)
    return _language(Source(name, *find_model(name)), Placement(device, dtype, attention))


@dataclass(frozen=True)
class Source:
    """What a model is loaded from, as it was named.

    Args:
        name: as it was given.
        checkpoint: its own files, or those of the model below an adapter.
        adapter: what is merged into it.
    """

    name: str
    checkpoint: Checkpoint
    adapter: Adapter | None = None

    @property
    def slug(self) -> str:
        """What the model is called in keys: a folder's last part, a name on the hub as it was given."""
        named: Checkpoint | Adapter = self.adapter or self.checkpoint
        return slug(str(named.folder.resolve())) if named.commit is None else self.name

    @property
    def hash(self) -> str:
        """Hash of all files that say which model this is."""
        return files_hash([*self.checkpoint.files, *(self.adapter.files if self.adapter else ())])

    @property
    def commits(self) -> dict[str, str]:
        """The commits of the hub's repositories that it was fetched from."""
        parts = {"commit": self.checkpoint, "adapter_commit": self.adapter}
        return {key: part.commit for key, part in parts.items() if part is not None and part.commit is not None}


@dataclass(frozen=True)
class Placement:
    """Where and how weights are laid.

    Args:
        device: as PyTorch names it, or ``auto``.
        dtype: of the weights, where not the checkpoint's own.
        attention: how attention is computed, where not as transformers chooses.
    """

    device: str
    dtype: str | None
    attention: str | None


def _check_options(device: str, dtype: str | None) -> None:
    if dtype is not None:
        one_of("dtype", dtype, DTYPES)
    refuse_device(device)


def _vision(source: Source, placed: Placement) -> VisionModel:
    checkpoint = source.checkpoint
    model = _load_checkpoint(source, "AutoModelForImageClassification", placed)
    prepare = preparation_of(model, _processor(checkpoint))
    loaded = VisionModel(model, prepare, name=source.slug, hash=source.hash)
    loaded.origin = source.commits
    try:
        loaded.n_answers  # noqa: B018  one forward over a blank image: processor and network must agree
    except (ValueError, RuntimeError, TypeError) as problem:
        raise PatchclampError(
            expected="an image processor whose images the network takes",
            got=f"{' x '.join(map(str, loaded.prepare.shape))} (channel, y, x): {problem}"[:200],
            remedy="Compare the sizes in preprocessor_config.json and config.json.",
        ) from problem
    return loaded


def _language(source: Source, placed: Placement) -> LanguageModel:
    checkpoint = source.checkpoint
    refuse_kind(checkpoint)
    auto = _auto_class(checkpoint)
    model = _load_checkpoint(source, auto, placed)
    _refuse_idle(checkpoint, model, placed.device)
    kind = TextClassifier if is_classifier(model) else LanguageModel
    loaded = kind(model, _tokenizer(source), name=source.slug, hash=source.hash)
    loaded.origin = source.commits
    for what, why in loaded.capabilities.missing:
        if what in ("images", "unembedding"):
            warnings.warn(f"{loaded.name}: {why}", PatchclampWarning, stacklevel=3)
    return loaded


def _auto_class(checkpoint: Checkpoint) -> str:
    """Return which of transformers' auto classes reads a checkpoint of text."""
    classes, kind = checkpoint.classes, str(checkpoint.config.get("model_type", ""))
    if any(each.endswith(MASKED) for each in classes):
        return "AutoModelForMaskedLM"  # asked for a causal model, transformers would make one of a masked one
    if any(each.endswith(CLASSIFIERS) for each in classes):
        return "AutoModelForSequenceClassification"
    if kind in names("MODEL_FOR_IMAGE_TEXT_TO_TEXT") and kind not in names("MODEL_FOR_CAUSAL_LM"):
        return "AutoModelForImageTextToText"
    known = names("MODEL").get(kind, ())  # a class with a head may end with Model too: GPT2LMHeadModel
    bare = {known} if isinstance(known, str) else set(known)
    if classes and set(classes) <= bare and not _ties_head(checkpoint, kind):
        return "AutoModel"
    return "AutoModelForCausalLM"


def _ties_head(checkpoint: Checkpoint, kind: str) -> bool:
    """Say whether a model that was saved without its head has one all the same: its embedding, used once more."""
    if kind not in names("MODEL_FOR_CAUSAL_LM") or kind in names("MODEL_FOR_MASKED_LM"):
        return False
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(checkpoint.folder), trust_remote_code=False)
    except Exception as problem:  # transformers raises many kinds; each becomes one message with a remedy
        raise explain(checkpoint, problem) from problem
    return bool(getattr(config.get_text_config(), "tie_word_embeddings", False))


def _refuse_idle(checkpoint: Checkpoint, model: Any, device: str) -> None:
    """Run one token through a network: a config can hold what loads and does not compute."""
    first = torch.device("cpu") if model.device.type == "meta" else model.device  # the disk holds all of it
    try:
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=first))
    except Exception as problem:  # each architecture fails in its own way
        if lacks_memory(problem):
            raise refuse_memory(checkpoint, problem, device) from problem
        raise PatchclampError(
            expected="a network that computes from token ids alone",
            got=f"{checkpoint.folder}: {type(problem).__name__}: {problem}"[:300],
            remedy="It needs other inputs too, or an entry of config.json does not fit this transformers."
            f"{newer_transformers(checkpoint.config)}",
        ) from problem


def _load_checkpoint(source: Source, auto: str, placed: Placement) -> Any:
    """Return what one of transformers' auto classes loads from the files of a checkpoint, an adapter merged into it."""
    checkpoint, device = source.checkpoint, placed.device
    refuse_quantiser(checkpoint)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    if checkpoint.bytes < LARGE:
        logging.disable_progress_bar()  # a bar that is over at once is noise
    read: Any = getattr(transformers, auto).from_pretrained
    options = arrange_weights(device)
    if placed.attention:
        options["attn_implementation"] = placed.attention
    try:
        with limit_construction(checkpoint):
            model, info = read(
                str(checkpoint.folder),
                dtype=DTYPES[placed.dtype] if placed.dtype else "auto",
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below, by name and size
                **options,
            )
    except Exception as problem:  # transformers raises many kinds; each becomes one message with a remedy
        raise explain(checkpoint, problem, device) from problem
    misshapen = sorted(info.get("mismatched_keys") or ())
    # A bare model's pooler is made by its class alone, and read by no site.
    missing = [key for key in sorted(map(str, info["missing_keys"])) if auto != "AutoModel" or "pooler" not in key]
    if missing or misshapen:
        raise refuse_lack(checkpoint, missing, misshapen)
    layers = getattr(model.config, "num_hidden_layers", None)
    if isinstance(layers, int) and layers < 1:
        raise PatchclampError(
            expected="a network with layers",
            got=f"{layers} in config.json of {checkpoint.folder}",
            remedy="Correct num_hidden_layers, or take the file from the model again.",
        )
    unused = refuse_other_config(checkpoint, model, sorted(map(str, info.get("unexpected_keys") or ())))
    if unused:
        warnings.warn(
            f"{len(unused):,} of the tensors of {checkpoint.folder} are no part of {type(model).__name__} and are not "
            f"used, such as {unused[0]}",
            PatchclampWarning,
            stacklevel=4,
        )
    if source.adapter is not None:
        try:
            model = merge_adapter(model, source.adapter)
        except Exception as problem:  # a lack of memory
            raise explain(checkpoint, problem, device) from problem
    if not options:
        try:
            model = model.to(device)
        except (RuntimeError, AssertionError, ImportError) as problem:
            if lacks_memory(problem):
                raise refuse_memory(checkpoint, problem, device) from problem
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


def _processor(checkpoint: Checkpoint) -> Any:
    from transformers import AutoImageProcessor

    source = checkpoint.repository or str(checkpoint.folder)
    try:
        return AutoImageProcessor.from_pretrained(
            source, revision=checkpoint.commit, backend="pil", trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as problem:
        if (checkpoint.folder / "preprocessor_config.json").is_file():
            raise _unread(checkpoint.folder, "an image processor in preprocessor_config.json", problem) from problem
        return None  # a model without one; its config may still say the size
    except (TypeError, AttributeError, RecursionError) as problem:
        raise _unread(checkpoint.folder, "an image processor in preprocessor_config.json", problem) from problem


def _unread(folder: Path, expected: str, problem: Exception) -> PatchclampError:
    if isinstance(problem, ImportError):
        remedy = "Install the package that 'got' names."
    else:
        remedy = "Take that file from the model again, or out of the folder: the model then loads without."
    return PatchclampError(expected=expected, got=f"{folder}: {type(problem).__name__} {problem}"[:200], remedy=remedy)


def _tokenizer(source: Source) -> Any:
    """Return the tokenizer beside the weights; None where there is none: the model is then shown token ids.

    Beside an adapter it is that adapter's own, where it has one.
    """
    from transformers import AutoTokenizer

    parts: list[Checkpoint | Adapter] = [source.checkpoint]
    if source.adapter is not None and (source.adapter.repository or _vocabularies(source.adapter.folder)):
        parts.insert(0, source.adapter)
    for part in parts:
        place = part.repository or str(part.folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(place, revision=part.commit, trust_remote_code=False)
            tokenizer("a")  # what a file says of lengths and tokens may be read only now
        except Exception as problem:  # a tokenizer's files can be wrong in as many ways as there are kinds
            there = _vocabularies(part.folder)
            if there:
                raise _unread(part.folder, f"a tokenizer in {there[0]}", problem) from problem
            continue
        # Without files transformers invents one that knows the special tokens, and no word.
        words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) - set(tokenizer.added_tokens_encoder)
        if len(words) > 1:
            return tokenizer
    return None


def _vocabularies(folder: Path) -> list[str]:
    return [each for each in _VOCABULARIES if (folder / each).is_file()]
