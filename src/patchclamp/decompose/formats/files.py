"""Read numbers and settings of other libraries without trusting them."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  NumPy, and safetensors through it, knows bfloat16 only once this is imported
import numpy as np
from safetensors import SafetensorError, safe_open

from patchclamp.core.disk import plain_file
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import parse
from patchclamp.subjects.unpacked_sizes import refuse_large_arrays

LONGEST = 2**20
"""Characters of a settings file at most: they hold a screen of settings."""


@dataclass(frozen=True, eq=False)
class Part:
    """What one folder of another library says about one basis.

    Args:
        parts: arguments of ``Basis``: arrays, activation, k.
        site: the site that is written, where the folder tells.
        reads: the site that is read, where it is another and the folder tells.
        transcodes: whether another site is read than written.
        model: what the folder calls the model.
        about: what else is worth keeping; ``patchclamp`` is what ``write`` left for the way back.
        hooks: site to the hook of TransformerLens that it was read from.
        conditions: see ``patchclamp.decompose.formats.conditions``: those that the folder tells.
    """

    parts: Mapping[str, Any]
    site: str | None = None
    reads: str | None = None
    transcodes: bool = False
    model: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    hooks: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)


LARGEST = float(np.finfo(np.float32).max) / 1e6
"""No value is larger than this, divided by the longest axis: products with activations up to a million stay finite."""


def read_settings(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Damaged: it is not there, too long, or no object.
    """
    try:
        with plain_file(file).open(encoding="utf-8") as opened:
            text = opened.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise ValueError(f"more than {LONGEST:,} characters")
        settings = parse(text)
        if not isinstance(settings, dict):
            raise ValueError(f"a {type(settings).__name__}")
    except (OSError, ValueError, RecursionError) as problem:
        raise Damaged(
            expected="settings as one JSON object",
            got=f"{file}: {problem or type(problem).__name__}"[:300],
            remedy="Fetch or save the folder again.",
        ) from problem
    return settings


def read_tensors(file: Path) -> dict[str, np.ndarray]:
    """Read every tensor of a safetensors file, or of an npz file without pickles, as float32 or wider.

    Raises:
        Damaged: no such file, another format, or objects in place of numbers.
        PatchclampError: it unpacks to more than it may.
    """
    try:
        if file.suffix == ".npz":
            refuse_large_arrays(file)
            # Opened here: numpy leaves open what it cannot read.
            with file.open("rb") as opened:
                stored = np.load(opened, allow_pickle=False)
                if isinstance(stored, np.ndarray):
                    raise ValueError("one array without a name")
                arrays = {name: stored[name] for name in stored.files}
        else:
            with safe_open(plain_file(file), framework="numpy") as kept:
                arrays = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  not a mapping
        return {name: _wide(name, array) for name, array in arrays.items()}
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        SafetensorError,
        zipfile.BadZipFile,
        zlib.error,
    ) as problem:
        raise Damaged(
            expected="numbers in safetensors, or in npz without pickles",
            got=f"{file}: {problem}"[:300],
            remedy="Fetch the file again; pickles are never loaded.",
        ) from problem


def _wide(name: str, array: np.ndarray) -> np.ndarray:
    # Kind V is ml_dtypes' bfloat16.
    if array.dtype.kind not in "fiuV":
        raise ValueError(f"{name} of type {array.dtype}")
    return array if array.dtype == np.float64 else array.astype(np.float32)


def fit(file: Path, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Check that arrays are there and that sizes of one name are equal.

    Args:
        file: where they come from, for the complaint.
        arrays: by name.
        shapes: array name to the names of its sizes.

    Returns:
        dict: each size by name.

    Raises:
        Damaged: one is missing, sizes differ, or values are so large that their products with activations overflow.

    Cost: two passes over the matrices.

    Example:
        >>> fit(Path("x"), {"w": np.zeros((2, 3)), "b": np.zeros(3)}, {"w": ("in", "unit"), "b": ("unit",)})
        {'in': 2, 'unit': 3}
    """
    sizes: dict[str, int] = {}
    wrong = [f"no {name}" for name in shapes if name not in arrays]
    for name, axes in shapes.items():
        shape = arrays[name].shape if name in arrays else ()
        if name in arrays and (
            len(shape) != len(axes) or any(sizes.setdefault(a, n) != n for a, n in zip(axes, shape, strict=True))
        ):
            wrong.append(f"{name} {shape}")
    if wrong or not all(sizes.values()):
        raise Damaged(
            expected="; ".join(f"{name} ({', '.join(axes)})" for name, axes in shapes.items()),
            got=f"{file}: {', '.join(wrong) or 'nothing in them'}",
            remedy="Fetch or save the folder again; parts of two dictionaries may be mixed.",
        )
    for name in shapes:
        array = arrays[name]
        if array.ndim > 1 and (large := float(max(array.max(), -array.min()))) > LARGEST / max(array.shape):
            raise Damaged(
                expected=f"{name} with values whose products with activations float32 can hold",
                got=f"{file}: {large:.2g} in it",
                remedy="Fetch or save the folder again.",
            )
    return sizes


def refuse(layout: str, got: str, remedy: str = "Convert it with that library first.") -> PatchclampError:
    """Return the error for something of another library that has no counterpart here.

    Args:
        layout: the library.
        got: what it has.
        remedy: what to do.

    Returns:
        PatchclampError: to be raised.

    Example:
        >>> refuse("SAELens", "a gated coder").remedy
        'Convert it with that library first.'
    """
    return PatchclampError(
        expected=f"a dictionary of {layout} that is one linear encoder, one activation and one linear decoder",
        got=got,
        remedy=remedy,
    )


def whole_k(k: Any, layout: str) -> int:
    """Return how many units a coder keeps, from its settings or from a tensor of one number.

    Raises:
        PatchclampError: no whole number.

    Example:
        >>> whole_k(np.array([32]), "sparsify"), whole_k(4.0, "SAELens")
        (32, 4)
    """
    number = k.item() if isinstance(k, np.ndarray) and k.size == 1 else k
    if isinstance(number, bool) or not isinstance(number, int | float) or number % 1 != 0:
        raise refuse(layout, f"k = {k!r}", "Its settings need a whole k.")
    return int(number)
