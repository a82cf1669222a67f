"""Why transformers does not load a model here, and what to do about it."""

import importlib.util
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from patchclamp.core.errors import PatchclampError, lacks_memory
from patchclamp.core.plain_numbers import human_bytes
from patchclamp.subjects.memory import free_memory
from patchclamp.subjects.weights import Checkpoint

WRAP = "In Python, load it with transformers and give it to pc.wrap(module, example), which takes any network"
CLASSIFIERS = ("ForSequenceClassification", "RewardModel", "ForRewardModeling")
"""How transformers' classes end that give a text classes, or one number."""
_OTHER_HEADS = {
    "ForTokenClassification": "a label for every token, where a question names one answer",
    "ForQuestionAnswering": "where an answer begins and ends in the text",
    "ForMultipleChoice": "a choice among several texts",
    "ForNextSentencePrediction": "whether one sentence follows another",
    "ForEmbedding": "a vector, and no answer",
    "ForTextEncoding": "a vector, and no answer",
}
QUANTISERS = {
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "bitsandbytes_4bit": ("bitsandbytes", "bitsandbytes"),
    "bitsandbytes_8bit": ("bitsandbytes", "bitsandbytes"),
    "gptq": ("gptqmodel", "gptqmodel optimum"),
    "awq": ("gptqmodel", "gptqmodel"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
    "torchao": ("torchao", "torchao"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
    "hqq": ("hqq", "hqq"),
    "aqlm": ("aqlm", "'aqlm[cpu,gpu]'"),
    "vptq": ("vptq", "vptq"),
    "spqr": ("spqr_quant", "'spqr_quant[gpu]'"),
    "auto-round": ("auto_round", "auto-round"),
    "quark": ("quark", "amd-quark"),
    "eetq": ("kernels", "kernels"),
    "higgs": ("flute", "flute-kernel"),
    "fbgemm_fp8": ("fbgemm_gpu", "fbgemm-gpu"),
}
"""How weights may be quantised, to the module that reads them and what pip calls its package."""


def refuse_kind(checkpoint: Checkpoint) -> None:
    """Refuse networks that answer with neither tokens nor classes, before they are loaded.

    Raises:
        PatchclampError: encoder-decoders, and heads that answer no question about a text.
    """
    config, classes = checkpoint.config, checkpoint.classes
    kind = str(config.get("model_type", ""))
    named = ", ".join(classes) or kind
    if any(each.endswith("ForCausalLM") or each.endswith("ForMaskedLM") for each in classes):
        return
    if config.get("is_encoder_decoder") or kind in _encoder_decoders():
        raise two_text_error(named, kind)
    answers = next((what for end, what in _OTHER_HEADS.items() if any(each.endswith(end) for each in classes)), None)
    if answers is not None:
        raise PatchclampError(
            expected="a model that answers with tokens, with classes of a text, or with classes of an image",
            got=f"{named}, which answers with {answers}",
            remedy=f"{WRAP}; or load the language model that it was made from.",
        )


def two_text_error(named: str, kind: str) -> PatchclampError:
    """Return why an encoder-decoder is no language model, and what works instead."""
    decoder = names("MODEL_FOR_CAUSAL_LM").get(kind)
    alone = f" Of its decoder alone (saved as {decoder}) everything works." if decoder else ""
    return PatchclampError(
        expected="one network from tokens to the next token (a decoder alone, or a masked encoder)",
        got=f"{named}, an encoder with a decoder, whose positions are of two texts",
        remedy=f"{WRAP}, with (input_ids, attention_mask, decoder_input_ids) as the example: its modules can be "
        f"recorded, changed and measured by a function of its output, such as lambda y: y.logits[:, -1, 7].{alone}",
    )


def refuse_quantiser(checkpoint: Checkpoint) -> None:
    """Refuse quantised weights whose library is not installed, before anything is loaded.

    Raises:
        PatchclampError: names the package.
    """
    stored = checkpoint.config.get("quantization_config")
    method = stored.get("quant_method") if isinstance(stored, Mapping) else None
    module, package = QUANTISERS.get(str(method), ("", ""))
    if not module or _is_installed(module):
        return
    raise PatchclampError(
        expected=f"the package that reads weights quantised with {method}",
        got=f"none installed, for {checkpoint.folder}",
        remedy=f"pip install {package}, on a machine that it works on, or take a copy of the model that is not "
        "quantised.",
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def refuse_memory(checkpoint: Checkpoint, problem: BaseException, device: str) -> PatchclampError:
    """Say that weights do not fit into memory, with what they take and what is free.

    Args:
        checkpoint: what was loaded.
        problem: what was raised.
        device: where to.

    Returns:
        PatchclampError: to be raised.
    """
    kind = device if device.startswith("cuda") else "cpu"
    try:
        free = free_memory(kind)
    except RuntimeError:
        free = None
    there = "" if free is None else f", {human_bytes(free)} free"
    smaller = "" if kind == "cpu" else "--device auto, which keeps a part in the computer's own memory, "
    return PatchclampError(
        expected=f"memory for {human_bytes(checkpoint.bytes)} of weights on {kind}",
        got=f"too little{there} ({type(problem).__name__})",
        remedy=f"Use --dtype bfloat16, {smaller}a smaller model, or a machine with more memory.",
    )


def refuse_lack(checkpoint: Checkpoint, missing: Sequence[str], misshapen: Sequence[Any]) -> PatchclampError:
    """Return the complaint that parameters have no weights, or weights of another shape.

    Args:
        checkpoint: what was loaded.
        missing: names of parameters without weights.
        misshapen: of others the name, the shape in the files, and that by the config.

    Returns:
        PatchclampError: to be raised.
    """
    if misshapen:
        name, there, wanted = misshapen[0]
        more = f"{len(misshapen):,} tensors of other shapes" if len(misshapen) > 1 else "a tensor of another shape"
        return PatchclampError(
            expected="weights of the shapes that config.json says",
            got=f"{checkpoint.folder}, with {more}: {name} is {_shape(there)} instead of {_shape(wanted)}",
            remedy="Config and weights do not belong together; take both from the same model.",
        )
    return PatchclampError(
        expected="weights for every parameter",
        got=f"{checkpoint.folder}, in which {len(missing):,} are missing: {', '.join(missing[:3])}"
        + (", …" if len(missing) > 3 else ""),
        remedy="The files are incomplete, or belong to another config: take both from the same model.",
    )


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def explain(checkpoint: Checkpoint, problem: Exception, device: str = "cpu") -> PatchclampError:
    """Return what transformers raised as expected, got, to do.

    Args:
        checkpoint: what should have been loaded.
        problem: what it raised.
        device: where to.

    Returns:
        PatchclampError: to be raised.
    """
    if isinstance(problem, PatchclampError):
        return problem
    if lacks_memory(problem):
        return refuse_memory(checkpoint, problem, device)
    text = str(problem)
    return PatchclampError(
        expected=f"a model that transformers loads from {checkpoint.folder}",
        got=f"{type(problem).__name__}: {text.strip()}".splitlines()[0][:200],
        remedy=_remedy(checkpoint.config, problem, text),
    )


def newer_transformers(config: Mapping[str, Any]) -> str:
    """Return which transformers saved a model and which is here, in words, where the config says it."""
    saved = config.get("transformers_version")
    return f" It was saved by transformers {saved}; here is {version('transformers')}." if saved else ""


def _remedy(config: Mapping[str, Any], problem: Exception, text: str) -> str:
    if "trust_remote_code" in text:
        return "It brings its own Python code: load it yourself if you trust it, and use patchclamp.wrap."
    stored: Any = config.get("quantization_config")
    if stored:
        method = stored.get("quant_method", "some method") if isinstance(stored, dict) else "some method"
        return (
            f"Its weights are quantised ({method}): install the package that 'got' names, on a machine that it works "
            "on, or take a copy of the model that is not quantised."
        )
    if isinstance(problem, ImportError):
        return "Install the package that 'got' names."
    if "model_type" not in config:
        return "config.json names no model_type: it is no config of transformers, or a part of it is lost."
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        return (
            "This transformers does not know the architecture: update it (pip install -U transformers)."
            f"{newer_transformers(config)}"
        )
    if "Unrecognized configuration class" in text:
        return f"transformers has no class of it that answers with tokens or classes. {WRAP}."
    return (
        "Try it with transformers alone, which may say more; an entry of config.json may not fit this transformers."
        f"{newer_transformers(config)} {WRAP}."
    )


def names(mapping: str) -> Mapping[str, Any]:
    """Return one of transformers' tables from kinds of models to the classes for a task.

    Args:
        mapping: such as ``MODEL_FOR_CAUSAL_LM``.
    """
    from transformers.models.auto import modeling_auto

    return dict(getattr(modeling_auto, f"{mapping}_MAPPING_NAMES", {}))


def _encoder_decoders() -> set[str]:
    return {*names("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM"), *names("MODEL_FOR_SPEECH_SEQ_2_SEQ")}
