"""Which files of a model's folder are loaded, checked before anything reads them."""

import json
import math
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from patchclamp.core.errors import PatchclampError
from patchclamp.subjects.hub import Repository

PACKAGE = Path(__file__).absolute().parents[1]
CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
GENERATION = "generation_config.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MOST_CONFIG, MOST_JSON = 2**24, 2**27
"""Bytes of a config, and of any other JSON file (an index, a tokenizer): the longest known have about one and forty
million."""
MOST_HEAD = 10**8
"""Bytes that the head of a file of weights may have, as safetensors itself says."""
_NAME = re.compile(r"[\w.+-]+\.safetensors")
# transformers prefers files of this name to all others, and reads them by PyTorch's distributed checkpoints.
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_COUNTS = re.compile(r"layer|block|label|expert|head|depth|stage|group")
LEAST_COUNT = 4096
"""A config may count as many blocks, classes, heads as this, whatever its weights are."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a model is loaded from, and nothing else.

    Args:
        folder: where the files lie.
        config: what config.json says.
        weights: the files of weights, by name.
        shapes: shape of every tensor in them.
        repository: of the hub, that they were fetched from; None of a local folder.
        commit: of that repository.
    """

    folder: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    repository: str | None = None
    commit: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that say which model this is."""
        return (self.folder / CONFIG, *self.weights)

    @property
    def classes(self) -> list[str]:
        """The classes that the config names."""
        named = self.config.get("architectures")
        return [each for each in named if isinstance(each, str)] if isinstance(named, list) else []

    @property
    def bytes(self) -> int:
        """Size of the weights on disk."""
        return sum(file.stat().st_size for file in self.weights)

    @property
    def elements(self) -> int:
        """Number of numbers in the weights."""
        return sum(map(math.prod, self.shapes.values()))


def find_folder(name: str) -> tuple[Path, Repository | None]:
    """Find the folder that a name means; the files of a repository of the hub are fetched.

    Args:
        name: a local folder, or a name on the Hugging Face hub, with ``@`` and a branch, tag or commit behind it where
            not the newest is meant.

    Returns:
        tuple[Path, Repository | None]: the folder, and the repository; None of a local folder.

    Raises:
        PatchclampError: neither, or a repository that the hub does not give.
    """
    folder = Path(name)
    if folder.exists() or name.startswith((".", "/", "~")):
        return folder, None
    repository = Repository(name)
    return _fetch(repository), repository


def check_checkpoint(folder: Path, repository: Repository | None = None) -> Checkpoint:
    """Check what a model is loaded from before anything is loaded.

    Args:
        folder: the folder.
        repository: that it was fetched from.

    Raises:
        PatchclampError: nothing there, pickled weights, files outside the folder, code that comes with the model, or a
            config that counts more than the weights can hold.

    Cost: reads the config and the heads of the weights.
    """
    refuse_no_folder(folder)
    config = read_json(folder, CONFIG, MOST_CONFIG)
    _refuse_code(folder, config)
    _check_others(folder)
    weights = _present(folder, weight_names(folder))
    shapes = read_shapes(weights)
    _check_counts(folder, config, shapes)
    _check_ids(folder, CONFIG, config)
    if repository is None:
        return Checkpoint(folder, config, weights, shapes)
    return Checkpoint(folder, config, weights, shapes, repository.name, repository.revision)


def refuse_no_folder(folder: Path) -> None:
    """Refuse what is no folder of a model.

    Raises:
        PatchclampError: a file, nothing, or a folder without config.json; what lies there instead is named.
    """
    wanted = "a model folder with config.json and safetensors weights"
    if folder.is_file():
        raise PatchclampError(
            expected=wanted,
            got=f"{folder}, a file",
            remedy="A recorded brain is for `patchclamp info` and `survey`; it cannot be run or clamped.",
        )
    if not _is_regular(folder / CONFIG):
        absent = "without config.json" if folder.is_dir() else "which is not there"
        if folder.exists() and not folder.is_dir():
            absent = "which is a device or a pipe"
        elif (folder / CONFIG).exists():
            absent = "whose config.json is a folder, a device or a pipe"
        there, remedy = _what_is_there(folder)
        raise PatchclampError(expected=wanted, got=f"{folder}, {absent}{there}", remedy=remedy)


def _is_regular(file: Path) -> bool:
    try:
        return file.is_file()
    except PermissionError as problem:
        raise _no_leave(file, problem) from problem


def _no_leave(file: Path, problem: OSError) -> PatchclampError:
    return PatchclampError(
        expected="files that may be read",
        got=f"{file}: {problem.strerror or 'Permission denied'}",
        remedy="Let whoever owns it give you leave to read it (chmod, or a copy of your own).",
    )


def _what_is_there(folder: Path) -> tuple[str, str]:
    """Return what a folder without config.json holds instead, and what to do about it."""
    usual = "Check the path, or give a Hugging Face name such as openai-community/gpt2."
    if not folder.is_dir():
        return "", usual
    inner = sorted(one.name for one in folder.iterdir() if (one / CONFIG).is_file())
    if inner:
        return f" but with models in folders of its own ({', '.join(inner[:3])})", f"Name one: {folder / inner[-1]}."
    gguf = next((one.name for one in sorted(folder.glob("*.gguf"))), None)
    if gguf is not None:
        return f" but with {gguf}", "GGUF files are of llama.cpp: give the safetensors folder that it was made from."
    weights = next((one.name for one in sorted(folder.glob("*.safetensors"))), None)
    if weights is not None:
        return (
            f" but with {weights}",
            "Put the config.json of that model beside its weights: it says how they are used.",
        )
    return "", usual


def read_json(folder: Path, name: str, most: int) -> dict[str, Any]:
    """Read one JSON object of a model's folder.

    Args:
        folder: the folder.
        name: of the file.
        most: bytes that it may have.

    Returns:
        dict[str, Any]: the object.

    Raises:
        PatchclampError: it lies elsewhere, is too long, no text, or no JSON object.
    """
    file = file_inside(folder, name)
    try:
        size = file.stat().st_size
        if size > most:
            raise ValueError(f"{size:,} bytes, above the limit of {most:,}")
        data = json.loads(file.read_text(encoding="utf-8"), parse_constant=_infinite)
        if not isinstance(data, dict):
            raise ValueError(f"a {type(data).__name__}")
    except PermissionError as problem:
        raise _no_leave(file, problem) from problem
    except (OSError, ValueError, RecursionError) as problem:
        raise PatchclampError(
            expected=f"{name} as one JSON object", got=f"{file}: {problem}"[:300], remedy="Fetch the file again."
        ) from problem
    return data


def _infinite(name: str) -> float:
    """Return an infinity, which configs give for no limit (`time_step_limit` of Mamba 2); NaN is an error."""
    if name == "NaN":
        raise ValueError("NaN, which is no number")
    return float(name)


def _refuse_code(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a config that names code of its own, or files of its own choice."""
    for key, value in _entries(config):
        if key == "auto_map":
            raise PatchclampError(
                expected="an architecture that transformers itself knows",
                got=f"{folder}, which brings its own Python code",
                remedy="Read that code; if you trust it, load the model yourself and use patchclamp.wrap in Python.",
            )
        fetches = key.endswith(("attn_implementation", "experts_implementation")) and "/" in json.dumps(value)
        if fetches or (key == "transformers_weights" and value is not None):
            raise PatchclampError(
                expected="a config that describes an architecture",
                got=f"{folder}/{CONFIG}, whose {key} names {'code' if fetches else 'files'} to load: {value!r}"[:300],
                remedy=f"Remove {key} from it.",
            )


def _check_others(folder: Path) -> None:
    """Refuse files that transformers would read whole however long they are, or pass over where they are damaged."""
    for file in sorted(folder.glob("*.json")):
        if file.is_file() and file.stat().st_size > MOST_JSON:
            raise PatchclampError(
                expected=f"JSON files of at most {MOST_JSON:,} bytes",
                got=f"{file} of {file.stat().st_size:,}",
                remedy="Fetch the file again, or take it out of the folder.",
            )
    if (folder / GENERATION).exists():
        _check_ids(folder, GENERATION, read_json(folder, GENERATION, MOST_CONFIG))


def _check_ids(folder: Path, name: str, config: Mapping[str, Any]) -> None:
    """Refuse ids of tokens that no vocabulary has; negative ones stand for none in some configs."""
    for key, value in _entries(config):
        if key.endswith(("token_id", "token_ids")) and isinstance(value, int) and not -(2**31) <= value < 2**31:
            raise PatchclampError(
                expected="ids of tokens from -2**31 to 2**31 - 1",
                got=f"{folder}/{name} with {key} {value}"[:300],
                remedy="Correct it, or fetch the model again.",
            )


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key of nested objects with its value, the members of lists under the list's key."""
    waiting: list[tuple[str, Any]] = [("", node)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict):
            yield from value.items()
            waiting += value.items()
        elif isinstance(value, list):
            yield from ((key, each) for each in value)
            waiting += [(key, each) for each in value]


def weight_names(folder: Path) -> list[str]:
    """Return the names of the files that transformers will read weights from.

    Raises:
        PatchclampError: none, pickles, or an index that names anything but safetensors files beside it.
    """
    strange = next((f.name for f in sorted(folder.iterdir()) if _DISTRIBUTED.fullmatch(f.name)), None)
    if strange is not None:
        raise PatchclampError(
            expected=f"weights in {WHOLE} or in the files of {INDEX}",
            got=f"{folder}, with a distributed checkpoint ({strange})",
            remedy="Load it with transformers, and save it with save_pretrained.",
        )
    if (folder / WHOLE).is_file():
        return [WHOLE]
    if not (folder / INDEX).is_file():
        raise _no_weights(folder)
    named = read_json(folder, INDEX, MOST_JSON).get("weight_map")
    names = list(named.values()) if isinstance(named, dict) else []
    wrong = [n for n in names if not isinstance(n, str) or not _NAME.fullmatch(n)]
    if wrong or not names:
        raise PatchclampError(
            expected=f"{INDEX} with the names of safetensors files beside it",
            got=f"{folder / INDEX}, which names {repr(wrong[0])[:200] if wrong else 'none'}",
            remedy="Nothing outside the folder is loaded, and no pickle, for loading one can run anything: where you "
            "trust it, load it with transformers and save it with save_pretrained.",
        )
    return sorted(set(names))


def _no_weights(folder: Path) -> PatchclampError:
    pickled = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    others = sorted(p.name for p in folder.glob("*.safetensors") if p.name != WHOLE)
    what = f"pickled weights {pickled[0]}" if pickled else "no weights"
    if (folder / WHOLE).exists():
        what = f"{WHOLE}, which is a folder, a device or a pipe"
    elif others and not pickled:
        what = f"{others[0]}, but neither {WHOLE} nor {INDEX}"
    return PatchclampError(
        expected="weights as safetensors",
        got=f"{folder}, with {what}",
        remedy="Loading a pickle can run anything, so it is never loaded: where you trust it, convert it once with "
        "transformers, AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new), and load the new folder."
        if pickled
        else "Fetch the model again.",
    )


def _present(folder: Path, names: list[str]) -> tuple[Path, ...]:
    """Return the files of weights; raise with the number of those that are missing."""
    missing = [name for name in names if not (folder / name).exists() and not (folder / name).is_symlink()]
    if missing and names != [WHOLE]:
        raise PatchclampError(
            expected=f"the {len(names):,} files of weights that {INDEX} names",
            got=f"{folder} without {len(missing):,} of them: {', '.join(missing[:3])}",
            remedy="Put the missing files beside the others, or fetch them again.",
        )
    return tuple(file_inside(folder, name) for name in names)


def file_inside(folder: Path, name: str) -> Path:
    """Return a file of the folder, which must lie in it, or, in the hub's cache, among the blobs beside it."""
    file = folder / name
    try:
        real, root = file.resolve(strict=True), folder.resolve()
        regular = stat.S_ISREG(real.stat().st_mode)
    except PermissionError as problem:
        raise _no_leave(file, problem) from problem
    except (OSError, RuntimeError) as problem:
        raise PatchclampError(
            expected=f"the file {name} in {folder}", got=f"{problem}"[:300], remedy="Fetch the model again."
        ) from problem
    homes = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
    # Some installers make the package's own files links.
    ours = file.absolute().is_relative_to(PACKAGE)
    if not regular or not (ours or any(real.is_relative_to(home) for home in homes)):
        raise PatchclampError(
            expected=f"{name} as a file of the model's folder",
            got=f"{file}, {f'which links to {real}' if regular else 'which is a device or a pipe'}",
            remedy="Copy the file into the folder.",
        )
    return file


def read_shapes(weights: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """Read the shapes of all tensors from the heads of the files.

    Raises:
        PatchclampError: a file that is damaged, ends early, is something else or may not be read.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weights:
        try:
            with safe_open(file, framework="numpy") as kept:
                shapes |= {n: tuple(kept.get_slice(n).get_shape()) for n in kept.keys()}  # noqa: SIM118  not a mapping
        except PermissionError as problem:
            raise _no_leave(file, problem) from problem
        except (OSError, SafetensorError) as problem:
            what, remedy = _why_unread(file)
            raise PatchclampError(
                expected="weights as safetensors",
                got=f"{file}, {what or problem}"[:300],
                remedy=remedy,
            ) from problem
    return shapes


def find_whole_numbers(file: Path) -> str:
    """Return the first tensor of a file whose numbers are no floating-point ones, with their type; else nothing."""
    with safe_open(file, framework="numpy") as kept:
        kinds = {name: kept.get_slice(name).get_dtype() for name in kept.keys()}  # noqa: SIM118  not a mapping
    return next((f"{name} of type {kind}" for name, kind in kinds.items() if not kind.startswith(("F", "BF"))), "")


def _why_unread(file: Path) -> tuple[str, str]:
    """Return what is wrong with a file of weights, by its own head, and what to do about it."""
    again = "Fetch that file again: the others need not be."
    n = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(512)
        length = int.from_bytes(head[:8], "little")
        stream.seek(8)
        written = stream.read(min(length, MOST_HEAD))
    if head.startswith(b"version https://git-lfs"):
        return "which is a pointer of Git LFS, not the weights themselves", "Fetch the weights: `git lfs pull`."
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml", b'{"error')):
        return "which is a page or a message of a server, not weights", again
    if n < 8 or 0 < n - 8 < length <= MOST_HEAD:
        return f"which ends within its own head ({n:,} bytes)", again
    try:
        entries = json.loads(written)
        ends = [entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return "whose head is damaged", again
    if n != whole:
        return (
            f"which has {n:,} of its {whole:,} bytes" if n < whole else f"which has {n - whole:,} bytes too many",
            again,
        )
    return "", again


def _check_counts(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse counts beyond the weights: a config alone can make transformers build lists of any length."""
    most = max(LEAST_COUNT, len(shapes), max((max(shape, default=0) for shape in shapes.values()), default=0))
    for key, value in _entries(config):
        counted = isinstance(value, int) and _COUNTS.search(key) and not key.endswith("_id")
        if counted and value > most:
            raise PatchclampError(
                expected=f"a config that counts at most {most:,}, as its weights do ({len(shapes):,} tensors)",
                got=f"{folder}/{CONFIG} with {key} {value:,}",
                remedy="Config and weights do not belong together; fetch the model again.",
            )


# -- the hub ----------------------------------------------------------------------------------------------------------


def _fetch(repository: Repository) -> Path:
    """Fetch a model's config and weights, or an adapter's, from the hub; return their folder."""
    config = repository.fetch(CONFIG) or repository.fetch(ADAPTER)
    if config is None:
        raise repository.lacking(f"{CONFIG} or {ADAPTER}")
    folder = config.parent
    whole = config.name == CONFIG and repository.fetch(WHOLE) is not None
    if config.name == CONFIG and not whole and repository.fetch(INDEX) is not None:
        for file in weight_names(folder):
            if repository.fetch(file) is None and repository.away is not None:
                raise repository.lacking(file)
    elif not whole and repository.fetch(ADAPTER) is not None:
        if repository.fetch(ADAPTER_WEIGHTS) is None and repository.away is not None:
            raise repository.lacking(ADAPTER_WEIGHTS)
    elif not whole and repository.away is not None:
        raise repository.lacking(WHOLE)
    repository.fetch(GENERATION)
    return folder
