"""Basis: a set of directions at a site; a unit is one of them."""

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float

from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import SLUG

BasisKind = Literal["neurons", "heads", "directions"]


@dataclass(frozen=True, eq=False)
class Basis:
    r"""Describe how a site's vector x is read as units f and written back.

    neurons: f = x. heads: f = x cut into equal blocks. directions: f = (x − b_dec) Eᵀ + b_enc, x̂ = f D + b_dec.
    An edit f → f′ changes x by decode(f′) − decode(f), so whatever the basis does not capture of x is kept.

    Args:
        name: slug used in keys.
        kind: ``neurons``, ``heads`` or ``directions``.
        decoder: D, ``(unit, width)``; only for ``directions``.
        encoder: E, ``(unit, width)``; D's pseudo-inverse where left out.
        encoder_bias: b_enc, ``(unit,)``.
        decoder_bias: b_dec, ``(width,)``.

    Raises:
        PatchclampError: the name is no slug, or directions come without a decoder.

    Example:
        >>> Basis("smile", "directions", decoder=np.eye(2)[:1]).n_units
        1
    """

    name: str
    kind: BasisKind
    decoder: Float[np.ndarray, "unit width"] | None = field(default=None, repr=False)
    encoder: Float[np.ndarray, "unit width"] | None = field(default=None, repr=False)
    encoder_bias: Float[np.ndarray, " unit"] | None = field(default=None, repr=False)
    decoder_bias: Float[np.ndarray, " width"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not SLUG.fullmatch(self.name) or (self.kind == "directions") != (self.decoder is not None):
            given = "none" if self.decoder is None else "given"
            raise PatchclampError(
                expected="a lower-case name, and a decoder exactly where the kind is 'directions'",
                got=f"name {self.name!r}, kind {self.kind!r}, decoder {given}",
                remedy="For example Basis('smile', 'directions', decoder=vectors).",
            )
        if self.decoder is not None and self.encoder is None:
            object.__setattr__(self, "encoder", np.linalg.pinv(self.decoder).T.astype(self.decoder.dtype))

    @property
    def n_units(self) -> int:
        """Number of directions; 0 where the site decides (neurons, heads)."""
        return 0 if self.decoder is None else int(self.decoder.shape[0])

    @property
    def hash(self) -> str:
        """SHA-256 over kind and arrays: two bases with equal hashes do the same."""
        digest = hashlib.sha256(self.kind.encode())
        for array in (self.decoder, self.encoder, self.encoder_bias, self.decoder_bias):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


NEURONS = Basis("neurons", "neurons")
HEADS = Basis("heads", "heads")
CHANNELS = Basis("channels", "neurons")
"""The same numbers as neurons; a unit without a position is a channel at all the places of its map."""
