"""A set of directions at a site; a unit is one of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from patchclamp.core.arguments import Positive, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.provenance import Provenance
from patchclamp.core.unit import SLUG

BasisKind = Literal["neurons", "heads", "whole", "directions"]
Activation = Literal["identity", "relu", "topk", "signed_topk", "jumprelu", "nonnegative"]
KEEP_K = ("topk", "signed_topk")
"""Activations that keep k units of a vector."""
ARRAYS = ("decoder", "encoder", "encoder_bias", "decoder_bias", "output_bias", "threshold", "skip")


@checked
@dataclass(frozen=True, eq=False)
class Basis:
    r"""Describe how a site's vector x is read as units f and written back.

    neurons: f = x. heads: f = x cut into equal blocks. whole: all of x is one unit. directions:
    f = φ((x − b_dec) Eᵀ + b_enc), x̂ = f D + b_out, with

    | activation | φ(a) |
    |---|---|
    | identity | a |
    | relu | max(a, 0) |
    | topk | max(a, 0) where a is among the k largest of its vector, else 0 |
    | signed_topk | a where abs(a) is among the k largest of its vector, else 0 |
    | jumprelu | a where a > θ, else 0 |
    | nonnegative | argmin over f ≥ 0 of ‖x − b_dec − f D‖²; E and b_enc play no part |

    An edit f → f′ changes x by decode(f′) − decode(f), so whatever the basis does not capture of x is kept. A basis
    that ``reads`` another site than it writes (a transcoder) has its units at the site that it writes. A cross-layer
    transcoder writes further sites with the same units: what stands at such a site is the sum over all bases that write
    there (``patchclamp.subjects.bases.reconstruct``).

    Args:
        name: slug used in keys.
        kind: ``neurons``, ``heads``, ``whole`` or ``directions``.
        decoder: D, ``(unit, width)``; only for ``directions``.
        encoder: E, ``(unit, width)`` of the site that is read (default: D's pseudo-inverse).
        encoder_bias: b_enc, ``(unit,)``.
        decoder_bias: b_dec, ``(width,)`` of the site that is read.
        output_bias: b_out, ``(width,)`` (default: b_dec).
        activation: φ.
        k: how many units of a vector are kept, for ``topk`` and ``signed_topk``.
        threshold: θ, ``(unit,)``, for ``jumprelu``.
        reads: path of the site that is read, where it is another than the one that is written.
        skip: S, ``(width, width read)``: x̂ = f D + x Sᵀ + b_out; only with ``reads``.
        further: path of another site that the units write, to their decoder there, ``(unit, its width)``; only with
            ``reads``.
        site: path of the site that is written, where it was made for one; ``hash`` leaves it and the next out.
        provenance: what made it.

    Raises:
        PatchclampError: the name is no slug, or the parts do not fit together.

    Example:
        >>> Basis("smile", "directions", decoder=np.eye(2)[:1]).n_units
        1
    """

    name: str
    kind: BasisKind
    decoder: Float[np.ndarray, "unit width"] | None = field(default=None, repr=False)
    encoder: Float[np.ndarray, "unit read"] | None = field(default=None, repr=False)
    encoder_bias: Float[np.ndarray, " unit"] | None = field(default=None, repr=False)
    decoder_bias: Float[np.ndarray, " read"] | None = field(default=None, repr=False)
    output_bias: Float[np.ndarray, " width"] | None = field(default=None, repr=False)
    activation: Activation = "identity"
    k: Positive | None = None
    threshold: Float[np.ndarray, " unit"] | None = field(default=None, repr=False)
    reads: str | None = None
    skip: Float[np.ndarray, "width read"] | None = field(default=None, repr=False)
    further: Mapping[str, Float[np.ndarray, "unit _"]] = field(default_factory=dict, repr=False)
    site: str | None = None
    provenance: Provenance = field(default_factory=Provenance, repr=False)

    def __post_init__(self) -> None:
        if not SLUG.fullmatch(self.name) or (self.kind == "directions") != (self.decoder is not None):
            given = "none" if self.decoder is None else "given"
            raise PatchclampError(
                expected="a lower-case name, and a decoder exactly where the kind is 'directions'",
                got=f"name {self.name!r}, kind {self.kind!r}, decoder {given}",
                remedy="For example Basis('smile', 'directions', decoder=vectors).",
            )
        if self.decoder is not None:
            self._check_numbers()
            if self.encoder is None and self.reads is None:
                object.__setattr__(self, "encoder", np.linalg.pinv(self.decoder).T.astype(self.decoder.dtype))
            self._check()

    def _check_numbers(self) -> None:
        """Refuse arrays of anything but finite numbers, before anything is computed from them."""
        arrays = {name: array for name in ARRAYS if (array := getattr(self, name)) is not None} | dict(self.further)
        # Kind V is ml_dtypes' bfloat16.
        wrong = [n for n, array in arrays.items() if array.dtype.kind not in "iufV" or not np.isfinite(array).all()]
        if wrong:
            raise PatchclampError(
                expected="arrays of finite numbers",
                got=f"{', '.join(wrong)} with NaN, infinite numbers or none at all",
                remedy="See the table in Basis' documentation.",
            )

    def _check(self) -> None:
        """Refuse parts that do not fit together.

        Raises:
            PatchclampError: shapes, numbers or parts that are wrong.
        """
        assert self.decoder is not None
        n, width = self.decoder.shape
        read = width if self.encoder is None else self.encoder.shape[1]
        shapes = {
            "encoder": (n, read),
            "encoder_bias": (n,),
            "decoder_bias": (read,),
            "output_bias": (width,),
            "threshold": (n,),
            "skip": (width, read),
        }
        wrong = [
            f"{name} {getattr(self, name).shape} instead of {shape}"
            for name, shape in shapes.items()
            if getattr(self, name) is not None and getattr(self, name).shape != shape
        ]
        wrong += [f"a decoder {a.shape} at {path}" for path, a in self.further.items() if a.ndim != 2 or len(a) != n]
        if self.further and self.reads is None:
            wrong.append("further sites that are written, without a site that is read")
        if self.activation not in get_args(Activation):
            wrong.append(f"activation {self.activation!r}")
        if (self.activation in KEEP_K) != (self.k is not None) or not 1 <= (self.k or 1) <= max(n, 1):
            wrong.append(f"k = {self.k} of {n} units")
        if (self.activation == "jumprelu") != (self.threshold is not None):
            wrong.append(f"threshold {'none' if self.threshold is None else 'given'}")
        if self.reads is None and (self.skip is not None or read != width):
            wrong.append("parts for another site than is written, which `reads` does not name")
        if self.reads is not None and (self.encoder is None or self.activation == "nonnegative"):
            wrong.append("no encoder for the site that is read")
        if wrong:
            raise PatchclampError(
                expected=f"{n} directions of width {width} whose parts fit: k from 1 to {n} exactly with topk, "
                "thresholds exactly with jumprelu",
                got="; ".join(wrong),
                remedy="See the table in Basis' documentation.",
            )

    @property
    def n_units(self) -> int:
        """Number of directions; 0 where the site decides (neurons, heads)."""
        return 0 if self.decoder is None else int(self.decoder.shape[0])

    def to_json(self, limit: int = 20) -> dict[str, Any]:
        """Return what it is as JSON-ready data, with the first ``limit`` directions' norms; arrays stay in folders."""
        norms = [] if self.decoder is None else np.linalg.norm(self.decoder[:limit].astype(np.float64), axis=1).tolist()
        return {
            "name": self.name,
            "kind": self.kind,
            "site": self.site,
            "reads": self.reads,
            "further": list(self.further),
            "units": self.n_units,
            "activation": self.activation,
            "norms": norms,
            "hash": self.hash,
            "provenance": self.provenance.to_json(),
        }

    @property
    def hash(self) -> str:
        """SHA-256 over kind and arrays: two bases with equal hashes do the same."""
        digest = hashlib.sha256(f"{self.kind}/{self.activation}/{self.k}/{self.reads}".encode("utf-8", "surrogatepass"))
        for array in (getattr(self, name) for name in ARRAYS):
            digest.update(b"-" if array is None else f"{array.dtype}{array.shape}".encode())
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
        for path, array in self.further.items():
            digest.update(f"{path}{array.dtype}{array.shape}".encode("utf-8", "surrogatepass"))
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


NEURONS = Basis("neurons", "neurons")
HEADS = Basis("heads", "heads")
WHOLE = Basis("whole", "whole")
CHANNELS = Basis("channels", "neurons")
"""The same numbers as neurons; a unit without a position is a channel at all the places of its map."""
