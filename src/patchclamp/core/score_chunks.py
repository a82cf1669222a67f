"""Columns a chunk at a time, and the scores of single cases, some at a time."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from patchclamp.core.bundle import Bundle


def append_once(bundle: Bundle, piece: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a piece, unless the folder has it."""
    if all(entry["piece"] != piece for entry in bundle.pieces):
        bundle.append(piece, arrays)


def append_cases(
    bundle: Bundle, number: int, members: Int[np.ndarray, " some"], part: np.ndarray, **more: np.ndarray
) -> None:
    """Write the scores of some cases to a folder.

    Args:
        bundle: the folder.
        number: of the piece.
        members: which cases they are.
        part: ``(some, key)`` their scores.
        more: what else is known of them, by name.
    """
    bundle.append(f"cases-{number:05d}", {"part": part, **more}, cases=[int(i) for i in members])


def read_cases(bundle: Bundle, n_cases: int, n_keys: int) -> Float[np.ndarray, "case key"]:
    """Return the scores of single cases from the pieces of a folder.

    Returns:
        Float[np.ndarray, "case key"]: row i is case i, column j is key j.

    Raises:
        ValueError: a case that is missing or there twice, or another number of keys.
    """
    pieces = [entry for entry in bundle.pieces if entry["piece"].startswith("cases-")]
    if sorted(i for entry in pieces for i in entry["cases"]) != list(range(n_cases)):
        raise ValueError(f"not {n_cases} cases, each once")
    scores = np.empty((n_cases, n_keys))
    for entry in pieces:
        part = bundle.read(entry["piece"], ["part"])["part"]
        if part.shape != (len(entry["cases"]), n_keys):
            raise ValueError(f"{entry['piece']} of shape {part.shape}")
        scores[entry["cases"]] = part
    return scores


def read_column(bundle: Bundle, name: str, n: int, dtype: str) -> np.ndarray:
    """Return a column from its pieces, which are read one by one into the place where they stay.

    Returns:
        np.ndarray: one value per key, of the given dtype.

    Raises:
        ValueError: another number of values than ``n``.
    """
    parts = sorted(entry["piece"] for entry in bundle.pieces if entry["piece"].rpartition("-")[0] == name)
    sizes = [bundle.shapes(part)["part"] for part in parts]
    if sum(size[0] for size in sizes) != n or any(len(size) != 1 for size in sizes):
        raise ValueError(f"{name} is not as long as the index")
    column, start = np.empty(n, dtype=np.dtype(dtype)), 0
    for part, (size,) in zip(parts, sizes, strict=True):
        column[start : start + size] = bundle.read(part)["part"]
        start += size
    return column
