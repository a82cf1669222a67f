"""Rows of a recording for benchmarks of a basis, and the same basis turned at random."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int

from patchclamp.core.basis import Basis
from patchclamp.core.conditions import only_site
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import Recording, as_numpy
from patchclamp.subjects.bases import decode, encode


def counted_rows(recording: Recording, site: str) -> tuple[Float[np.ndarray, "row width"], Int[np.ndarray, " row"]]:
    """Return the counted rows of a site, and the stimulus of each.

    Raises:
        PatchclampError: a site that the recording does not hold, or none named where it holds several.
    """
    path = only_site(recording, site if site in recording.values else "")
    parts = [
        np.asarray(as_numpy(recording.of(path, i)), np.float32)[stimulus.counted]
        for i, stimulus in enumerate(recording.stimuli)
    ]
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def codes_of(basis: Basis, x: Float[np.ndarray, "row width"]) -> Float[np.ndarray, "row unit"]:
    """Return f of every row."""
    with torch.no_grad():
        codes: np.ndarray = encode(basis, torch.from_numpy(x)).numpy()
    return codes


def squares_missed(
    basis: Basis, x: Float[np.ndarray, "row width"], y: Float[np.ndarray, "row width"]
) -> Float[np.ndarray, " row"]:
    """Return ‖y − ŷ‖² of every row, ŷ the basis' reconstruction from x.

    Args:
        basis: encoder and decoder.
        x: ``(row, width)`` activations that are read.
        y: ``(row, width)`` activations that are written.

    Returns:
        ``(row,)`` in units of y squared.

    Source: the reconstruction loss of 2406.04093, section 2.

    Example:
        >>> x = np.array([[3.0, 4.0]], np.float32)
        >>> squares_missed(Basis("b", "directions", decoder=np.eye(2, dtype=np.float32)[:1]), x, x).tolist()
        [16.0]
    """
    with torch.no_grad():
        read = torch.from_numpy(x)
        error = torch.from_numpy(y) - decode(basis, encode(basis, read), read)
    missed: np.ndarray = error.double().square().sum(1).numpy()
    return missed


def refuse_further(basis: Basis) -> None:
    """Refuse a basis whose units write further sites: alone it does not say what stands at any of them.

    Raises:
        PatchclampError: it is part of a cross-layer transcoder.
    """
    if basis.further:
        raise PatchclampError(
            expected="a basis whose units write one site",
            got=f"one of a cross-layer transcoder, which writes {len(basis.further)} more",
            remedy="`patchclamp evaluate MODEL FOLDER --inputs FILE` measures all of its bases together.",
        )


def turn_basis(basis: Basis, draw: np.random.Generator) -> Basis:
    """Return a basis turned by a random rotation: its inner angles stay, its relation to activity is lost.

    Raises:
        PatchclampError: neurons or heads.
    """
    if basis.decoder is None:
        raise PatchclampError(expected="a basis of directions", got=basis.kind, remedy="Give a dictionary's basis.")

    def rotate(rows: np.ndarray) -> np.ndarray:
        q, r = np.linalg.qr(draw.standard_normal((rows.shape[1], rows.shape[1])))
        rotated: np.ndarray = (rows @ (q * np.sign(np.diag(r)))).astype(rows.dtype)
        return rotated

    state = draw.bit_generator.state
    decoder = rotate(basis.decoder)
    if basis.encoder is None:
        return replace(basis, decoder=decoder)
    if basis.encoder.shape == basis.decoder.shape:
        # The same rotation: what is read and what is written stay one to the other as they were.
        draw.bit_generator.state = state
    return replace(basis, decoder=decoder, encoder=rotate(basis.encoder))
