"""Bases that were made for a model, kept in a folder: one basis a site, and how they came about."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from patchclamp.core.arguments import checked
from patchclamp.core.basis import ARRAYS, Basis
from patchclamp.core.checks import check_plain
from patchclamp.core.disk import plain_file, read_text_file, real_folder, refuse_write, write_durably
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.json_text import check_seal, parse, seal
from patchclamp.core.plain_names import name_site
from patchclamp.core.provenance import Provenance
from patchclamp.core.table import Table, Tabular

FORMAT, VERSION = "patchclamp-basis", 2
FURTHER = "further."
"""What the decoders of further sites are called in a file, by their place in the list."""


@checked
@dataclass(frozen=True, eq=False, repr=False)
class Dictionary(Tabular):
    """Hold the bases that one training or factorisation made, by the site that each writes.

    Args:
        bases: site path to Basis; all of one name.
        subject: slug and hash of the model they were made on.
        method: ``snmf nmf l1 topk batchtopk jumprelu pca random …``.
        about: text, seeds, options, versions.
        curves: what was followed while they were made: site path to measure to a list of ``[step, value]``.

    Raises:
        PatchclampError: no basis, or bases of several names.
    """

    bases: Mapping[str, Basis]
    subject: Mapping[str, str]
    method: str
    about: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {basis.name for basis in self.bases.values()}
        if len(names) != 1 or any(basis.decoder is None for basis in self.bases.values()):
            raise PatchclampError(
                expected="bases of directions, one a site, all of one name",
                got=f"{len(self.bases)} bases named {', '.join(sorted(names)) or 'nothing'}",
                remedy="Keep bases of other names in folders of their own.",
            )
        for name in ("subject", "about", "curves"):
            check_plain(name, getattr(self, name))

    def table(self, top: int | None = None) -> Table:
        """Return its bases as a table, site by site."""
        title = f"{self.name}, made by {self.method} at {len(self.bases)} sites"
        rows = (
            (name_site(site), site, basis.n_units, basis.activation, basis.reads)
            for site, basis in list(self.bases.items())[:top]
        )
        return Table(title, ("site", "path", "features", "activation", "reads"), tuple(rows), len(self.bases))

    @classmethod
    def of(cls, basis: Basis) -> "Dictionary":
        """Return the dictionary of one basis that says its site and what made it; ``single`` gives the basis back.

        Raises:
            PatchclampError: a basis without a site.
        """
        if basis.site is None:
            raise PatchclampError(
                expected="a basis that was made for a site",
                got=f"{basis.name} without one",
                remedy="Dictionary({site: basis}, subject, method) says where it belongs.",
            )
        made = basis.provenance
        subject = {"slug": made.subject, "hash": made.subject_hash}
        return cls({basis.site: basis}, subject, made.method, {"provenance": made.to_json()})

    def single(self) -> Basis:
        """Return its only basis with its site and what made it.

        Raises:
            PatchclampError: bases at several sites.
        """
        if len(self.bases) != 1:
            raise PatchclampError(
                expected="one basis", got=f"{len(self.bases)}", remedy="`bases` holds them by their sites."
            )
        [(site, basis)] = self.bases.items()
        made = self.about.get("provenance")
        return replace(basis, site=site, provenance=Provenance() if made is None else Provenance.from_json(made))

    @property
    def name(self) -> str:
        """The name that keys have."""
        return next(iter(self.bases.values())).name

    def save(self, folder: str | Path) -> None:
        """Write the folder: ``basis.json`` last, so that a folder with it is whole.

        Raises:
            PatchclampError: the folder holds another dictionary, or cannot be written.
        """
        place = real_folder(folder)
        if (place / "basis.json").exists():
            raise PatchclampError(
                expected="a folder without a basis", got=f"{folder}, which has one", remedy="Choose another --out."
            )
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise refuse_write(place, problem) from problem
        listed = []
        for i, (site, basis) in enumerate(self.bases.items()):
            arrays = {n: np.ascontiguousarray(a) for n in ARRAYS if (a := getattr(basis, n)) is not None}
            arrays |= {f"{FURTHER}{j}": np.ascontiguousarray(a) for j, a in enumerate(basis.further.values())}
            file = f"basis-{i:03d}.safetensors"
            write_durably(place / file, save(arrays))
            listed.append(
                {
                    "site": site,
                    "file": file,
                    "activation": basis.activation,
                    "k": basis.k,
                    "reads": basis.reads,
                    **({"further": list(basis.further)} if basis.further else {}),
                    "units": basis.n_units,
                    "hash": basis.hash,
                }
            )
        head = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "method": self.method,
            "subject": dict(self.subject),
            "about": dict(self.about),
            "curves": dict(self.curves),
            "bases": listed,
        }
        write_durably(place / "basis.json", seal(head))

    @classmethod
    def load(cls, folder: str | Path) -> "Dictionary":
        """Read a folder that ``save`` wrote, and check that every basis is what was written.

        Raises:
            PatchclampError: no dictionary there, or one of a newer version.
            Damaged: a part is missing or changed.
        """
        place = Path(folder)
        file = place / "basis.json"
        if not file.is_file():
            raise PatchclampError(
                expected="a folder that `patchclamp decompose` wrote",
                got=f"{place}, {'which has no basis.json' if place.is_dir() else 'which is not there'}",
                remedy="Check the path; a training that was cut off goes on with --resume.",
            )
        try:
            data = read_text_file(file)
            head = parse(data)
            if head["format"] != FORMAT:
                raise ValueError(f"its format is {head['format']!r}")
            other = head["version"] != VERSION
            if not other:
                check_seal(head, data)
            bases = {} if other else {str(one["site"]): _read(place, str(head["name"]), one) for one in head["bases"]}
            subject, method = dict(head["subject"]), str(head["method"])
            about, curves = dict(head.get("about", {})), dict(head.get("curves", {}))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError, PatchclampError) as problem:
            raise Damaged(
                expected="a whole basis",
                got=f"{place}: {problem.got if isinstance(problem, PatchclampError) else problem}",
                remedy="Restore the folder, or decompose again.",
            ) from problem
        if other:
            raise PatchclampError(
                expected=f"{FORMAT} version {VERSION}",
                got=f"version {head['version']!r}",
                remedy="Read it with the patchclamp that wrote it, or decompose again with this one.",
            )
        return cls(bases, subject, method, about, curves)


def _read(place: Path, name: str, one: Mapping[str, Any]) -> Basis:
    file = place / str(one["file"])
    if file.parent != place or file.suffix != ".safetensors":
        raise ValueError(f"a part outside the folder: {one['file']!r}")
    with safe_open(plain_file(file), framework="numpy") as stored:
        arrays = {n: stored.get_tensor(n) for n in stored.keys() if n in ARRAYS}  # noqa: SIM118  not a mapping
        further = {str(path): stored.get_tensor(f"{FURTHER}{j}") for j, path in enumerate(one.get("further") or ())}
    parts = {"activation": one["activation"], "k": one["k"], "reads": one["reads"], "further": further}
    basis = Basis(name, "directions", **arrays, **parts)
    if basis.hash != one["hash"]:
        raise ValueError(f"{one['file']} is not what was written")
    return basis
