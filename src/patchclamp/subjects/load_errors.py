"""Why transformers does not load a model here, and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from patchclamp.core.errors import PatchclampError, lacks_memory
from patchclamp.subjects.weights import Checkpoint

WRAP = "In Python, load it with transformers and give it to pc.wrap(module, example), which takes any network"
_OTHER_HEADS = (
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
    "RewardModel",
    "ForRewardModeling",
    "ForEmbedding",
    "ForTextEncoding",
)


def refuse_kind(checkpoint: Checkpoint) -> None:
    """Refuse networks that answer with something else than tokens or classes of images, before they are loaded.

    Raises:
        PatchclampError: encoder-decoders, models of images and text, classifiers of text.
    """
    config, classes = checkpoint.config, checkpoint.classes
    kind = str(config.get("model_type", ""))
    named = ", ".join(classes) or kind
    if any(each.endswith("ForCausalLM") or each.endswith("ForMaskedLM") for each in classes):
        return
    if config.get("is_encoder_decoder") or kind in _encoder_decoders():
        raise PatchclampError(
            expected="one network from tokens to the next token (a decoder alone, or a masked encoder)",
            got=f"{named}, an encoder with a decoder",
            remedy=f"{WRAP}.",
        )
    if any(each.endswith(_OTHER_HEADS) for each in classes):
        raise PatchclampError(
            expected="a model that predicts tokens, or one that gives images classes",
            got=f"{named}, which has another head",
            remedy=f"{WRAP}; or load the language model that it was made from.",
        )
    if kind in _names("MODEL_FOR_IMAGE_TEXT_TO_TEXT") and kind not in _names("MODEL_FOR_CAUSAL_LM"):
        raise PatchclampError(
            expected="a model that transformers loads for text alone",
            got=f"{named}, a model of images and text",
            remedy="In Python, load it with transformers and give it to pc.LanguageModel(model, tokenizer): it then "
            "runs on text.",
        )


def refuse_lack(checkpoint: Checkpoint, lost: Sequence[str]) -> PatchclampError:
    """Return the complaint that parameters have no weights.

    Args:
        checkpoint: what was loaded.
        lost: names of parameters without weights, or with weights of another shape.
    """
    bare = [each for each in checkpoint.classes if each.endswith("Model")]
    if bare:
        return PatchclampError(
            expected="a model with its language head",
            got=f"{', '.join(bare)}, saved without one ({len(lost)} parameters without weights, such as {lost[0]})",
            remedy=f"Load the model that it was saved from, or: {WRAP}.",
        )
    return PatchclampError(
        expected="weights for every parameter",
        got=f"{len(lost)} missing or misshapen, such as {lost[0]}",
        remedy="The files are incomplete or belong to another config; fetch the model again.",
    )


def explain(checkpoint: Checkpoint, problem: Exception) -> PatchclampError:
    """Return what transformers raised as expected, got, to do.

    Args:
        checkpoint: what should have been loaded.
        problem: what it raised.
    """
    if isinstance(problem, PatchclampError):
        return problem
    text = str(problem)
    if "ignore_mismatched_sizes" in text:
        return PatchclampError(
            expected="weights of the sizes that config.json says",
            got=f"{checkpoint.folder}, with others",
            remedy="Config and weights do not belong together; fetch both again.",
        )
    return PatchclampError(
        expected=f"a model that transformers loads from {checkpoint.folder}",
        got=f"{type(problem).__name__}: {text.strip()}".splitlines()[0][:200],
        remedy=_remedy(checkpoint.config, problem, text),
    )


def _remedy(config: Mapping[str, Any], problem: Exception, text: str) -> str:
    if lacks_memory(problem):
        return "There is too little memory: use --dtype bfloat16, a smaller model, or --device auto."
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
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        return "This transformers does not know the architecture: update it (pip install -U transformers)."
    if "Unrecognized configuration class" in text:
        return f"transformers has no class of it that predicts tokens or gives images classes. {WRAP}."
    return f"Try it with transformers alone, which may say more; config.json may be damaged. {WRAP}."


def _names(mapping: str) -> Mapping[str, Any]:
    """Return one of transformers' tables from kinds of models to the classes for a task."""
    from transformers.models.auto import modeling_auto

    return dict(getattr(modeling_auto, f"{mapping}_MAPPING_NAMES", {}))


def _encoder_decoders() -> set[str]:
    return {*_names("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM"), *_names("MODEL_FOR_SPEECH_SEQ_2_SEQ")}
