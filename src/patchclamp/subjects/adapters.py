"""Adapters of the PEFT library (LoRA and its like), merged into the model that they were trained on."""

import importlib.util
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from patchclamp.core.errors import PatchclampError, lacks_memory
from patchclamp.subjects.weights import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    LEAST_COUNT,
    MOST_CONFIG,
    WHOLE,
    Checkpoint,
    check_checkpoint,
    file_inside,
    find_folder,
    find_whole_numbers,
    read_json,
    read_shapes,
)

BASE = "Name the model that it was trained on: --base MODEL, in Python pc.load(adapter, base=MODEL)."
_PICKLE = "adapter_model.bin"
_RANK = re.compile(r"(^|_)(r|rank)$")
_PROBE = (1, 2, 3, 4)
"""Tokens on which the merged model must say what the model with its adapter beside it says."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """What is merged into a model, and nothing else.

    Args:
        folder: where the files lie.
        config: what adapter_config.json says.
        weights: the file of weights.
        shapes: shape of every tensor in it.
        repository: of the hub, that they were fetched from; None of a local folder.
        commit: of that repository.
    """

    folder: Path
    config: Mapping[str, Any]
    weights: Path
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    repository: str | None = None
    commit: str | None = None

    @property
    def kind(self) -> str:
        """What kind of adapter it is, as PEFT calls it."""
        return str(self.config.get("peft_type"))

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that say which adapter this is."""
        return (self.folder / ADAPTER, self.weights)


def find_model(name: str, base: str | None = None) -> tuple[Checkpoint, Adapter | None]:
    """Find what a model is loaded from: a checkpoint, or an adapter with the checkpoint that it was trained on.

    Args:
        name: a local folder, or a name on the Hugging Face hub.
        base: of an adapter, the model that it is merged into, where not the one that its config names.

    Returns:
        tuple[Checkpoint, Adapter | None]: both checked; nothing is loaded.

    Raises:
        PatchclampError: see ``check_checkpoint``; an adapter that cannot be merged, or whose model is not there.
    """
    if base is not None and not base.strip():
        raise PatchclampError(
            expected="the name of a model, or its folder, as the base of an adapter", got=repr(base), remedy=BASE
        )
    folder, repository = find_folder(name)
    if not (folder / ADAPTER).is_file():
        if base is not None:
            raise PatchclampError(
                expected=f"an adapter, which alone has a base (a folder with {ADAPTER})",
                got=f"{folder}, which is none",
                remedy="Leave the base out.",
            )
        return check_checkpoint(folder, repository), None
    adapter = _read(folder)
    if repository is not None:
        adapter = Adapter(folder, adapter.config, adapter.weights, adapter.shapes, repository.name, repository.revision)
    named = base or _named_base(adapter)
    try:
        below, its_repository = find_folder(named)
        if (below / ADAPTER).is_file() and not (below / WHOLE).is_file():
            raise PatchclampError(
                expected="a whole model below an adapter",
                got=f"{below}, another adapter",
                remedy="Merge that one first.",
            )
        return check_checkpoint(below, its_repository), adapter
    except PatchclampError as problem:
        raise PatchclampError(
            expected=f"the model of the adapter {folder}: {problem.expected}",
            got=problem.got,
            remedy=problem.remedy if base is not None else f"{problem.remedy} {BASE}",
        ) from problem


def _named_base(adapter: Adapter) -> str:
    named, revision = (adapter.config.get(key) for key in ("base_model_name_or_path", "revision"))
    if not isinstance(named, str) or not named:
        raise PatchclampError(
            expected=f"a base_model_name_or_path in {ADAPTER}", got=f"none in {adapter.folder}", remedy=BASE
        )
    return f"{named}@{revision}" if isinstance(revision, str) and revision and not Path(named).exists() else named


def _read(folder: Path) -> Adapter:
    """Check an adapter's files before anything is loaded."""
    config = read_json(folder, ADAPTER, MOST_CONFIG)
    _refuse_kind(folder, config)
    if not (folder / ADAPTER_WEIGHTS).exists():
        pickled = (folder / _PICKLE).exists()
        raise PatchclampError(
            expected=f"an adapter's weights in {ADAPTER_WEIGHTS}",
            got=f"{folder}, with {f'pickled weights {_PICKLE}' if pickled else 'none'}",
            remedy="Loading a pickle can run anything, so it is never loaded: where you trust it, convert it once with "
            "peft, PeftModel.from_pretrained(model, folder).save_pretrained(new), and load the new folder."
            if pickled
            else "Fetch the adapter again.",
        )
    weights = file_inside(folder, ADAPTER_WEIGHTS)
    shapes = read_shapes([weights])
    if strange := find_whole_numbers(weights):
        raise PatchclampError(
            expected="an adapter's weights as floating-point numbers",
            got=f"{weights} with {strange}",
            remedy="They may be quantised: merge the adapter where it was made, and load the folder that this gives.",
        )
    most = max(LEAST_COUNT, max((max(shape, default=0) for shape in shapes.values()), default=0))
    large = next((f"{key} {n:,}" for key, n in _ranks(config) if n > most), None)
    if large is not None:
        raise PatchclampError(
            expected=f"ranks of at most {most:,}, as weights like these have",
            got=f"{folder / ADAPTER} with {large}",
            remedy="Config and weights do not belong together; fetch the adapter again.",
        )
    return Adapter(folder, config, weights, shapes)


def _ranks(node: Any) -> Iterator[tuple[str, int]]:
    for key, value in node.items():
        if key == "rank_pattern" and isinstance(value, dict):
            yield from (("rank_pattern", n) for n in value.values() if isinstance(n, int))
        elif isinstance(value, int) and _RANK.search(key):
            yield key, value


def _refuse_kind(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse adapters that are no change of weights, that this peft does not know, or that bring code."""
    kind = str(config.get("peft_type"))
    if importlib.util.find_spec("peft") is None:
        raise PatchclampError(
            expected="the package peft, which reads adapters",
            got=f"none installed, for the adapter {folder} ({kind})",
            remedy="pip install 'patchclamp[adapters]'.",
        )
    from importlib.metadata import version

    peft = _peft()
    known = peft.PEFT_TYPE_TO_CONFIG_MAPPING.get(kind)
    merges = "Merge it into its model where it was made, and load the folder that this gives."
    if known is None:
        raise PatchclampError(
            expected=f"a kind of adapter that peft {version('peft')} knows",
            got=f"{kind} in {folder / ADAPTER}",
            remedy="A later peft may: pip install -U peft.",
        )
    if issubclass(known, peft.config.PromptLearningConfig):
        raise PatchclampError(
            expected="an adapter that changes weights, so that it can be merged",
            got=f"{folder}, {kind}: it puts learnt vectors before the text and changes no weight",
            remedy="In Python, load it with peft and give it to pc.wrap(module, example).",
        )
    if config.get("alora_invocation_tokens"):
        raise PatchclampError(
            expected="an adapter that holds for every token, so that it can be merged",
            got=f"{folder}, which holds only behind the tokens {json.dumps(config['alora_invocation_tokens'])[:60]}",
            remedy="In Python, load it with peft and give it to pc.wrap(module, example).",
        )
    code = next((key for key in ("megatron_config", "layer_replication") if config.get(key)), None)
    if code is not None:
        raise PatchclampError(
            expected="an adapter of the model as it stands", got=f"{folder / ADAPTER} with {code}", remedy=merges
        )


def merge_adapter(model: Any, adapter: Adapter) -> Any:
    """Merge an adapter into its model, as PEFT's ``merge_and_unload`` does, and check that nothing else changed.

    Args:
        model: the transformers model that it was trained on; its weights are changed in place.
        adapter: what is merged.

    Returns:
        Any: the model, merged.

    Raises:
        PatchclampError: quantised weights, weights of another model, or an adapter that is no change of weights.

    Cost: two passes over the weights that it changes, and two forward passes of four tokens.
    """
    peft = _peft()
    if getattr(model, "hf_quantizer", None) is not None:
        raise PatchclampError(
            expected="a model whose weights are not quantised, to merge an adapter into",
            got="quantised ones, which would be rounded anew",
            remedy="Name the model before it was quantised with --base MODEL.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[adapter.kind].from_pretrained(str(adapter.folder))
            config.task_type, config.inference_mode = None, True
            beside = peft.PeftModel(model, config)
            loaded = beside.load_adapter(str(adapter.folder), "default", torch_device=str(model.device))
            lost = _find_unplaced(beside, loaded)
            if not lost:
                before = _answer(beside)
                merged = beside.merge_and_unload()
    except Exception as problem:  # PEFT raises many kinds; each becomes one message with a remedy
        if lacks_memory(problem):
            raise
        raise PatchclampError(
            expected=f"an adapter that fits {type(model).__name__}",
            got=f"{adapter.folder} ({adapter.kind}): {type(problem).__name__}: {problem}".splitlines()[0][:300],
            remedy=f"It may belong to another model. {BASE}",
        ) from problem
    if lost:
        raise PatchclampError(
            expected=f"an adapter that fits {type(model).__name__}",
            got=f"{adapter.folder}, of which {len(lost):,} tensors have no place there, or no weights, such as "
            f"{lost[0]}",
            remedy=f"It may belong to another model. {BASE}",
        )
    after = _answer(merged)
    most = float(before.abs().max()) * torch.finfo(before.dtype).eps ** 0.5
    if not bool(((after - before).abs() <= most).all()):
        raise PatchclampError(
            expected="an adapter whose merged weights say what it says beside the model",
            got=f"{adapter.folder} ({adapter.kind}), which moves answers by {float((after - before).abs().max()):.2g}",
            remedy="It is no change of weights: in Python, load it with peft and give it to pc.wrap(module, example).",
        )
    return merged.requires_grad_(True).eval()


def _peft() -> Any:
    """Return the library; bitsandbytes, which it imports where it is there, warns of kernels that nobody asked for."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import peft

    return peft


def _find_unplaced(beside: Any, loaded: Any) -> list[str]:
    """Return tensors of an adapter that the model has no place for, and places for which it has none."""
    return sorted({*loaded.unexpected_keys, *(key for key in loaded.missing_keys if ".default." in f"{key}.")})


def _answer(model: Any) -> torch.Tensor:
    with torch.no_grad():
        given = model.eval()(input_ids=torch.tensor([_PROBE], device=model.device))
    return given.logits if "logits" in given else given[0]
