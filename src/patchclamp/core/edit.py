"""A change of a subject's parameters, reversible, with the hashes before and after."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from patchclamp.core.arguments import checked
from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import hold_folder
from patchclamp.core.errors import PatchclampError
from patchclamp.core.json_text import read_word
from patchclamp.core.noun_folder import load_noun
from patchclamp.core.provenance import Provenance
from patchclamp.core.table import Table, Tabular

FOLDER = "edit"


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Edit(Tabular):
    """Hold what is added to some parameters, and the hash of the subject before and after.

    ``with subject.edited(edit):`` adds it and takes it away again, to the bit; ``subject.save_edited(edit, folder)``
    writes a model of its own.

    Args:
        deltas: parameter name → what is added, of the parameter's shape.
        before: hash of the weights that it was made for.
        claim: what it should change, in words.
        provenance: what made it.

    Raises:
        PatchclampError: no parameter, or numbers that are not finite.

    Example:
        >>> Edit({"w": np.ones((2, 2))}, "a", "Paris is in Italy").size
        4
    """

    deltas: Mapping[str, np.ndarray] = field(repr=False)
    before: str
    claim: str = ""
    provenance: Provenance = field(default_factory=Provenance)

    def table(self, top: int | None = None) -> Table:
        """Return the changed parameters as a table, each with its shape and the norm of its change."""
        title = f"{self.claim or 'an edit'}: {len(self.deltas)} parameters"
        rows = (
            (name, " × ".join(map(str, delta.shape)), float(np.linalg.norm(delta)))
            for name, delta in list(self.deltas.items())[:top]
        )
        columns = ("parameter", "shape", "norm of change")
        return Table(title, columns, tuple(rows), len(self.deltas), ("parameter", "norm of change"))

    def __post_init__(self) -> None:
        # Sums over one memory layout round otherwise than over another, and files hold one.
        object.__setattr__(self, "deltas", {name: np.ascontiguousarray(delta) for name, delta in self.deltas.items()})
        strange = [name for name, delta in self.deltas.items() if not np.isfinite(delta).all()]
        if not self.deltas or strange:
            raise PatchclampError(
                expected="at least one parameter, and finite numbers",
                got=f"{strange[0]} with others" if strange else "none",
                remedy="A solution that overflows asks for a larger penalty.",
            )

    @property
    def size(self) -> int:
        """How many numbers it changes."""
        return int(sum(np.count_nonzero(delta) for delta in self.deltas.values()))

    @cached_property
    def after(self) -> str:
        """The hash of the weights with it: SHA-256 over the hash before and every delta, so that no weight is read."""
        digest = hashlib.sha256(self.before.encode("utf-8", "surrogatepass"))
        for name, delta in sorted(self.deltas.items()):
            digest.update(f"{name}{delta.shape}{delta.dtype}".encode("utf-8", "surrogatepass") + delta.tobytes())
        return digest.hexdigest()

    @property
    def hash(self) -> str:
        """The hash of the weights with it, which says before and after in one."""
        return self.after

    def random_like(self, seed: int) -> "Edit":
        """Return the control: for every parameter a random rank-one matrix (a random vector) of the delta's norm.

        Args:
            seed: of the draw.
        """
        draw = np.random.default_rng(seed)
        deltas = {}
        for name, delta in self.deltas.items():
            noise = draw.standard_normal(len(delta))
            for length in delta.shape[1:]:
                noise = np.multiply.outer(noise, draw.standard_normal(length))
            deltas[name] = (noise * (np.linalg.norm(delta) / np.linalg.norm(noise))).astype(delta.dtype)
        return replace(self, deltas=deltas, claim=f"random, of the size of: {self.claim}")

    def to_json(self, limit: int = 20) -> dict[str, Any]:
        """Return what it changes as JSON-ready data; arrays stay in bundles."""
        return {
            "claim": self.claim,
            "before": self.before,
            "after": self.after,
            "size": self.size,
            "parameters": [
                {"name": name, "shape": list(delta.shape), "norm": float(np.linalg.norm(delta))}
                for name, delta in list(self.deltas.items())[:limit]
            ],
            "provenance": self.provenance.to_json(),
        }

    def save(self, folder: str | Path) -> None:
        """Write the edit to a new or empty folder, whole or not at all.

        Raises:
            PatchclampError: the folder holds something, or cannot be written.
        """
        manifest = {
            "claim": self.claim,
            "before": self.before,
            "after": self.after,
            "names": list(self.deltas),
            "provenance": self.provenance.to_json(),
        }
        with hold_folder(folder):
            bundle = Bundle.create(folder, kind=FOLDER, manifest=manifest)
            bundle.append("deltas", {str(i): np.asarray(delta) for i, delta in enumerate(self.deltas.values())})
            bundle.finish()

    @classmethod
    def load(cls, folder: str | Path) -> "Edit":
        """Read a folder that ``save`` wrote, and check that it is what was written.

        Raises:
            PatchclampError: no edit there.
            Damaged: a part is missing or changed.
        """
        return load_noun(folder, FOLDER, cls._of)

    @classmethod
    def _of(cls, bundle: Bundle) -> "Edit":
        manifest, arrays = bundle.manifest, bundle.read("deltas")
        deltas = {read_word(name): arrays[str(i)] for i, name in enumerate(manifest["names"])}
        edit = cls(
            deltas,
            read_word(manifest["before"]),
            read_word(manifest["claim"]),
            Provenance.from_json(manifest["provenance"]),
        )
        if edit.after != manifest["after"]:
            raise ValueError("its hash is another")
        return edit
