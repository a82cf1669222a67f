"""Layouts: dictionaries that other libraries wrote, and dictionaries written for them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from safetensors.numpy import save

from patchclamp.core.basis import Basis
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import built_aside, refuse_occupied, refuse_write, write_durably
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import slug
from patchclamp.decompose.layouts import gemma_scope, saelens, sparsify
from patchclamp.decompose.layouts.files import Part
from patchclamp.decompose.layouts.hooks import hook_of, hookpoint_of
from patchclamp.decompose.transcoding import mlp_sites
from patchclamp.subjects.language import LanguageModel

__all__ = ["LAYOUTS", "Layout", "at_home", "locate", "open_dictionary", "write_dictionary"]

Layout = Literal["saelens", "sparsify", "patchclamp"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
OWN = "basis.json"
MARKS = {saelens.WEIGHTS: "saelens", sparsify.WEIGHTS: "sparsify", gemma_scope.WEIGHTS: "gemma-scope"}
_HUB = re.compile(r"[\w.-]+/[\w.-]+(/[\w./-]+)?(@[\w./-]+)?")
_MLP = re.compile(r"blocks\.(\d+)\.mlp\.in")
METHODS = {"relu": "l1", "topk": "topk", "jumprelu": "jumprelu"}


def open_dictionary(
    source: str | Path, *, site: str | None = None, reads: str | None = None, name: str | None = None
) -> Dictionary:
    """Open a dictionary that patchclamp, SAELens, sparsify or Gemma Scope's authors wrote.

    Args:
        source: a folder, or ``owner/repository/folder`` on the Hugging Face hub, with ``@revision`` where wanted; a
            folder of such folders gives a basis for each.
        site: the site that is written, where the folder does not tell or tells another model's.
        reads: the site that a transcoder reads, likewise.
        name: what its units are called in keys (``features``).

    Returns:
        Dictionary: outputs equal to those of the library that wrote it, up to rounding.

    Raises:
        PatchclampError: nothing there, no dictionary, a site that nobody tells, or a kind that no Basis has.
        Damaged: parts missing or changed.

    Cost: reads every weight once; from the hub the files of the one folder.
    """
    folder = locate(source)
    if (folder / OWN).is_file():
        found = Dictionary.load(folder)
        if site is None and reads is None and name is None:
            return found
        return _renamed(found, site, reads, name)
    places = [folder] if _layout(folder) else [p for p in sorted(folder.iterdir()) if p.is_dir() and _layout(p)]
    if not places or (len(places) > 1 and (site or reads)):
        raise PatchclampError(
            expected=f"a folder with {OWN}, {', '.join(MARKS)}, or folders of these",
            got=f"{source}, with {'none of these' if not places else f'{len(places)} of them and one site named'}",
            remedy="Name the folder of one dictionary.",
        )
    bases: dict[str, Basis] = {}
    for place in places:
        layout, part = _layout(place), _read(place, str(source))
        own = part.about.get("patchclamp", {})
        kept = {k: v for k, v in own.items() if k in ("site", "reads") and isinstance(v, str)}
        written = site or kept.get("site") or part.site
        read = (reads or kept.get("reads") or part.reads) if part.transcodes else None
        if written is None or (part.transcodes and read is None) or written in bases:
            raise PatchclampError(
                expected=f"the site that {place.name} {'writes' if written is None else 'reads'}, one for each",
                got=f"{written}, twice" if written in bases else f"a folder of {layout} that does not tell",
                remedy="Name it: --site blocks.3.resid_out, and --reads where a transcoder reads another; what is read "
                "before a norm's gain is no site here.",
            )
        bases[written] = Basis(name or slug(str(own.get("name", "features"))), "directions", **part.parts, reads=read)
    first = next(iter(bases.values()))
    subject = own.get("subject") if isinstance(own.get("subject"), dict) else {"slug": part.model, "hash": ""}
    about = {"layout": layout, "from": str(source), **{k: v for k, v in part.about.items() if k != "patchclamp"}}
    return Dictionary(
        bases, {str(k): str(v) for k, v in subject.items()}, str(own.get("method", METHODS[first.activation])), about
    )


def at_home(dictionary: Dictionary, model: LanguageModel) -> Dictionary:
    """Return a dictionary whose transcoders read a site of the model.

    A folder of sparsify tells that an MLP is transcoded, not what the model calls that MLP's input: it is
    ``blocks.3.mlp.in`` until a model is at hand.

    Raises:
        PatchclampError: the model has no such MLP.
    """
    bases = {}
    for site, basis in dictionary.bases.items():
        found = _MLP.fullmatch(basis.reads or "")
        bases[site] = basis if found is None else replace(basis, reads=mlp_sites(model, int(found[1]))[0])
    return replace(dictionary, bases=bases)


def write_dictionary(dictionary: Dictionary, folder: str | Path, layout: str) -> list[Path]:
    """Write a dictionary for another library; of several sites each into a folder of its own.

    Args:
        dictionary: what is written.
        folder: a new or empty folder.
        layout: ``saelens``, ``sparsify`` or ``patchclamp``.

    Returns:
        list[Path]: the folders to give to that library.

    Raises:
        PatchclampError: the folder is not empty, or the library has no such coder.

    Cost: one copy of the weights.
    """
    place = Path(folder)
    if layout not in LAYOUTS:
        raise PatchclampError(expected=f"a layout among {', '.join(LAYOUTS)}", got=repr(layout), remedy="Choose one.")
    refuse_occupied(place)
    try:
        with built_aside(place) as part:
            return [place / folder.relative_to(part) for folder in _write(dictionary, part, layout)]
    except OSError as problem:
        raise refuse_write(place, problem) from problem


def _write(dictionary: Dictionary, place: Path, layout: str) -> list[Path]:
    if layout == "patchclamp":
        dictionary.save(place)
        return [place]
    made: dict[str, tuple[dict[str, Any], dict[str, np.ndarray], str]] = {}
    for site, basis in dictionary.bases.items():
        own = {
            "site": site, "reads": basis.reads, "name": basis.name, "method": dictionary.method,
            "subject": dict(dictionary.subject),
        }  # fmt: skip
        if layout == "saelens":
            cfg, tensors = saelens.write(basis, site, str(dictionary.subject.get("slug", "")))
            made[hook_of(site)] = ({**cfg, "patchclamp": own}, tensors, saelens.WEIGHTS)
        else:
            cfg, tensors = sparsify.write(basis)
            made[hookpoint_of(site)] = ({**cfg, "patchclamp": own}, tensors, sparsify.WEIGHTS)
    folders = []
    for named, (cfg, tensors, weights) in made.items():
        inner = place if len(made) == 1 else place / named
        try:
            inner.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise refuse_write(inner, problem) from problem
        write_durably(inner / weights, save(tensors))
        write_durably(inner / saelens.SETTINGS, json.dumps(cfg, indent=1).encode())
        folders.append(inner)
    return folders


def locate(source: str | Path) -> Path:
    """Return the folder of a dictionary, fetched from the hub where it is a name there.

    Raises:
        PatchclampError: neither a folder nor a name, or the hub cannot give it.
    """
    text, place = str(source), Path(source).expanduser()
    if place.is_dir():
        return place
    if place.is_file() and place.name == gemma_scope.WEIGHTS:
        return place.parent
    if place.exists() or not _HUB.fullmatch(text) or text.startswith((".", "/", "~")):
        raise PatchclampError(
            expected="a folder, or owner/repository/folder on the Hugging Face hub",
            got=f"{text}, {'a file' if place.exists() else 'which is not there'}",
            remedy="Check the path.",
        )
    named, _, revision = text.partition("@")
    owner, repository, *inner = named.split("/")
    under = "/".join(part for part in inner if part)
    lead = f"{under}/" if under else ""
    # Only this folder's own files: whole repositories of dictionaries are hundreds of gigabytes.
    wanted = [f"{lead}{file}" for file in (OWN, "basis-*.safetensors", saelens.SETTINGS, *MARKS)]
    try:
        from huggingface_hub import snapshot_download

        fetched = Path(snapshot_download(f"{owner}/{repository}", revision=revision or None, allow_patterns=wanted))
    except Exception as problem:  # the hub's own errors, the network's and the disk's
        raise PatchclampError(
            expected=f"the folder {under or 'at the top'} of {owner}/{repository} on the Hugging Face hub",
            got=f"{type(problem).__name__}: {problem}"[:300],
            remedy="Check the name and the network, or fetch it by hand and name the folder.",
        ) from problem
    if not (fetched / under).is_dir():
        raise PatchclampError(
            expected=f"a dictionary in {under or 'the top folder'} of {owner}/{repository}", got="no such folder",
            remedy="Name the folder that holds the weights: owner/repository/folder.",
        )  # fmt: skip
    return fetched / under


def _layout(folder: Path) -> str | None:
    return next((layout for file, layout in MARKS.items() if (folder / file).is_file()), None)


def _read(folder: Path, source: str) -> Part:
    layout = _layout(folder)
    if layout == "gemma-scope":
        return gemma_scope.read(folder, source)
    return saelens.read(folder) if layout == "saelens" else sparsify.read(folder)


def _renamed(found: Dictionary, site: str | None, reads: str | None, name: str | None) -> Dictionary:
    """Return a dictionary of our own under another name or at another site."""
    if len(found.bases) > 1 and (site or reads):
        raise PatchclampError(
            expected="one basis where a site is named",
            got=f"{len(found.bases)}",
            remedy="Leave --site and --reads out.",
        )
    bases = {
        site or path: replace(basis, name=name or basis.name, reads=(reads or basis.reads) if basis.reads else None)
        for path, basis in found.bases.items()
    }
    return Dictionary(bases, found.subject, found.method, found.about, found.curves)
