"""Conditions of a dictionary: what its input was while it was trained, as far as its folder tells, and what is assumed.

``Dictionary.about["conditions"]`` holds those that are known:

| name | what |
|---|---|
| ``centred`` | the residual stream had mean zero over its width (TransformerLens' ``center_writing_weights``) |
| ``prepend_bos`` | texts began with a BOS token, whatever the tokenizer does by itself |
| ``context_size`` | tokens of a context |
| ``positions`` | start, stop and step of the positions that it was trained on |
| ``excluded`` | ids of tokens that it was not trained on |

``Dictionary.about["assumed"]`` holds a line for each that the folder does not tell.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.formats.files import refuse
from patchclamp.subjects.site_names import in_stream

ASSUMED = "assumed"


def read_conditions(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions that settings of SAELens tell.

    Args:
        cfg: the settings, metadata among them.

    Raises:
        PatchclampError: a value that makes no sense, or positions that are not counted one by one from the start.

    Example:
        >>> read_conditions({"prepend_bos": True, "context_size": 128, "seqpos_slice": [1, None]})
        {'prepend_bos': True, 'context_size': 128, 'positions': [1, None, None]}
    """
    conditions: dict[str, Any] = {}
    options = cfg.get("model_from_pretrained_kwargs")
    if isinstance(options, Mapping) and isinstance(options.get("center_writing_weights"), bool):
        conditions["centred"] = options["center_writing_weights"]
    if isinstance(options, Mapping) and options.get("fold_value_biases") and "hook_z" in str(cfg.get("hook_name")):
        raise refuse(
            "SAELens",
            "a coder of heads' outputs without their value biases (fold_value_biases)",
            "Add the encoder's image of the biases to b_enc and save it again.",
        )
    if isinstance(cfg.get("prepend_bos"), bool):
        conditions["prepend_bos"] = cfg["prepend_bos"]
    size = cfg.get("context_size")
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise refuse("SAELens", f"context_size = {size!r}", "cfg.json needs a whole number from 1, or none.")
        conditions["context_size"] = size
    cut = cfg.get("seqpos_slice")
    if cut is not None:
        parts = list(cut) if isinstance(cut, list | tuple) else [cut]
        whole = all(part is None or (isinstance(part, int) and not isinstance(part, bool)) for part in parts)
        if not whole or not 1 <= len(parts) <= 3 or (len(parts) == 3 and parts[2] == 0):
            raise refuse("SAELens", f"seqpos_slice = {cut!r}", "cfg.json needs start, stop and step, or null.")
        cut = slice(*parts)
        if (cut.start, cut.stop, cut.step) not in ((None, None, None), (0, None, None), (0, None, 1)):
            conditions["positions"] = [cut.start, cut.stop, cut.step]
    excluded = cfg.get("exclude_special_tokens")
    if isinstance(excluded, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in excluded):
        conditions["excluded"] = list(excluded)
    elif excluded not in (None, True, False):
        raise refuse("SAELens", f"exclude_special_tokens = {excluded!r}", "cfg.json needs ids, true or false.")
    return conditions


def written_conditions(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions as settings of SAELens; the mean that is taken off stands in the encoder already."""
    settings: dict[str, Any] = {"model_from_pretrained_kwargs": {"center_writing_weights": False}}
    for ours, theirs in (
        ("prepend_bos", "prepend_bos"),
        ("context_size", "context_size"),
        ("positions", "seqpos_slice"),
        ("excluded", "exclude_special_tokens"),
    ):
        if ours in conditions:
            settings[theirs] = conditions[ours]
    return settings


def assume(conditions: Mapping[str, Any], sites: list[str]) -> list[str]:
    """Return a line for each condition that a folder does not tell, and what is done without."""
    lines = []
    if "centred" not in conditions and any(map(in_stream, sites)):
        lines.append(
            "it does not tell whether the stream was centred (center_writing_weights): taken as not; "
            "--center takes the mean off"
        )
    if "prepend_bos" not in conditions:
        lines.append(
            "it does not tell whether texts began with a BOS token: they begin as the tokenizer begins them; "
            "--bos puts one there"
        )
    if "context_size" not in conditions:
        lines.append("it does not tell how long its contexts were, nor which positions they left out: taken as any")
    return lines


def centre(basis: Basis) -> Basis:
    """Return a basis that takes the mean over the width off its input first.

    Raises:
        PatchclampError: a basis without an encoder of its own.
    """
    if basis.encoder is None:
        raise PatchclampError(
            expected="a basis with an encoder", got=basis.name, remedy="Leave --center out: it reads no mean."
        )
    bias, taken = basis.encoder_bias, basis.decoder_bias
    if taken is not None:
        off = basis.encoder.astype(np.float64) @ taken.astype(np.float64)
        bias = (np.negative(off) if bias is None else bias - off).astype(basis.encoder.dtype)
    added = basis.output_bias if basis.output_bias is not None else taken if basis.reads is None else None
    centred = basis.encoder - basis.encoder.mean(axis=1, keepdims=True)
    return replace(basis, encoder=centred, encoder_bias=bias, decoder_bias=None, output_bias=added)
