"""Read dictionaries of other libraries, and write dictionaries for them."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from safetensors.numpy import save

from patchclamp.core.arguments import checked
from patchclamp.core.basis import Basis
from patchclamp.core.checks import one_of
from patchclamp.core.dictionary import Dictionary
from patchclamp.core.disk import build_aside, refuse_occupied, refuse_write, write_durably
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import slug
from patchclamp.decompose.formats import circuit_tracer, dictionary_learning, gemma_scope, saelens, sparsify
from patchclamp.decompose.formats.conditions import ASSUMED, assume, centre, written_conditions
from patchclamp.decompose.formats.files import Part
from patchclamp.decompose.formats.site_names import hook_of, hookpoint_of
from patchclamp.subjects.hub import hub_options
from patchclamp.subjects.language import LanguageModel
from patchclamp.subjects.site_names import CONDITIONS, HOOKS, MODULE, in_stream, resolve_sites

__all__ = ["LAYOUTS", "Layout", "convert_basis", "locate", "open_dictionary", "write_dictionary"]

Layout = Literal["saelens", "sparsify", "patchclamp"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
OWN = "basis.json"
MARKS = {
    saelens.WEIGHTS: "saelens",
    sparsify.WEIGHTS: "sparsify",
    gemma_scope.WEIGHTS: "gemma-scope",
    gemma_scope.SECOND: "gemma-scope-2",
    dictionary_learning.WEIGHTS: "dictionary_learning",
}
TRACER = "circuit-tracer"
_LAYER_FILE = re.compile(r"layer_(0|[1-9][0-9]*)\.safetensors")
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
_HUB = re.compile(r"[\w.-]+/[\w.-]+(/[\w./-]+)?(@[\w./-]+)?")
METHODS = {"relu": "l1", "topk": "topk", "signed_topk": "topk", "jumprelu": "jumprelu"}


def open_dictionary(
    source: str | Path,
    *,
    site: str | None = None,
    reads: str | None = None,
    name: str | None = None,
    center: bool | None = None,
    prepend_bos: bool | None = None,
) -> Dictionary:
    """Open a dictionary that patchclamp, SAELens, sparsify, circuit-tracer, dictionary_learning or Gemma Scope's
    authors wrote.

    Args:
        source: a folder, or ``owner/repository/folder`` on the Hugging Face hub, with ``@revision`` where wanted; a
            folder of such folders gives a basis for each. Of a set of circuit-tracer's one ``layer_3.safetensors``
            in it opens that layer alone.
        site: the site that is written, where the folder does not tell.
        reads: the site that a transcoder reads, likewise.
        name: what its units are called in keys (``features``).
        center: whether the stream that it was trained on was centred, where the folder does not tell.
        prepend_bos: whether texts began with a BOS token, where the folder does not tell.

    Returns:
        Dictionary: outputs equal to those of the library that wrote it, up to rounding; ``about["conditions"]`` holds
            what its folder tells of its input, ``about["assumed"]`` a line for each thing that it does not tell.

    Raises:
        PatchclampError: nothing there, no dictionary, a site that nobody tells or that contradicts the folder, or a
            kind that no Basis has.
        Damaged: parts missing or changed.

    Cost: reads every weight once; from the hub the files of the one folder.
    """
    for flag, named_site in (("--sites", site), ("--reads", reads)):
        if named_site is not None and set(named_site) & set("*?,"):
            raise PatchclampError(
                expected=f"one site with {flag}",
                got=f"the pattern {named_site!r}",
                remedy="Name one, such as blocks.3.resid_out.",
            )
    folder, only = _locate_layer(source)
    if (folder / OWN).is_file():
        dictionary = Dictionary.load(folder)
        ours = {path: basis.reads or "" for path, basis in dictionary.bases.items()}
        _check_named(
            {"--sites": site, "--reads": reads},
            {"--sites": ", ".join(ours), "--reads": ", ".join(filter(None, ours.values()))},
        )
        return _settle(dictionary if name is None else _rename(dictionary, name), center, prepend_bos)
    places = [folder] if _layout(folder) else [p for p in sorted(folder.iterdir()) if p.is_dir() and _layout(p)]
    if not places:
        _refuse_pickles(folder)
    parts = [(place, part) for place in places for part in _read(place, str(source), only)]
    if not parts or (len(parts) > 1 and (site or reads)):
        layouts = f"{OWN}, {', '.join(MARKS)}, {circuit_tracer.FIRST_OF_SET}, {circuit_tracer.FIRST_OF_CROSS}"
        raise PatchclampError(
            expected=f"a folder with {layouts}, or folders of these",
            got=f"{source}, with {'none of these' if not parts else f'{len(parts)} dictionaries and one site named'}",
            remedy="Name the folder of one dictionary.",
        )
    bases: dict[str, Basis] = {}
    hooks: dict[str, str] = {}
    told: list[Mapping[str, Any]] = []
    for place, part in parts:
        layout = _layout(place)
        own = part.about.get("patchclamp", {})
        kept = {k: v for k, v in own.items() if k in ("site", "reads") and isinstance(v, str)}
        _check_named(
            # What a module is called is another library's name for a place; the model's own name of it may be given.
            {"--sites": site, "--reads": reads},
            {
                "--sites": None if str(part.site).startswith(MODULE) and not own else kept.get("site") or part.site,
                "--reads": kept.get("reads") or part.reads if part.transcodes else "",
            },
        )
        written = site or kept.get("site") or part.site
        read = (reads or kept.get("reads") or part.reads) if part.transcodes else None
        if written is None or (part.transcodes and read is None) or written in bases:
            raise PatchclampError(
                expected=f"the site that {place.name} {'writes' if written is None else 'reads'}, one for each",
                got=f"{written}, twice" if written in bases else f"a folder of {layout} that does not tell",
                remedy="Name it: --sites blocks.3.resid_out, and --reads where a transcoder reads another; what is "
                "read before a norm's gain is no site here.",
            )
        bases[written] = Basis(name or slug(str(own.get("name", "features"))), "directions", **part.parts, reads=read)
        known = own.get(HOOKS) if "site" in kept else part.hooks
        sites = (written, read, *part.parts.get("further", ()))
        hooks |= {s: str(h) for s, h in known.items() if s in sites} if isinstance(known, dict) else {}
        told.append(own.get(CONDITIONS) if isinstance(own.get(CONDITIONS), dict) else part.conditions)
    if any(each != told[0] for each in told):
        raise PatchclampError(
            expected="folders that tell the same of their contexts",
            got=f"{', '.join(p.name for p in places[:3])}, which differ",
            remedy="Name one of them.",
        )
    first = next(iter(bases.values()))
    subject = own.get("subject") if isinstance(own.get("subject"), dict) else {"slug": part.model, "hash": ""}
    about = {"layout": layout, "from": str(source), **{k: v for k, v in part.about.items() if k != "patchclamp"}}
    about |= {CONDITIONS: dict(told[0]), **({HOOKS: hooks} if hooks else {})}
    dictionary = Dictionary(
        bases, {str(k): str(v) for k, v in subject.items()}, str(own.get("method", METHODS[first.activation])), about
    )
    return _settle(dictionary, center, prepend_bos, foreign=not own)


def write_dictionary(
    dictionary: Dictionary, folder: str | Path, layout: str, *, model: LanguageModel | None = None
) -> list[Path]:
    """Write a dictionary for another library; of several sites each into a folder of its own.

    Args:
        dictionary: what is written.
        folder: a new or empty folder.
        layout: ``saelens``, ``sparsify`` or ``patchclamp``.
        model: the model that it is of: what the other library calls a place beside a norm depends on it. Without it
            sparsify's folders of other sites than blocks' and modules' outputs have the site's own path for a name, and
            SAELens' hooks are those of a network with norms before its sublayers.

    Returns:
        list[Path]: the folders to give to that library.

    Raises:
        PatchclampError: the folder is not empty, or the library has no such coder.

    Cost: one copy of the weights.
    """
    place = Path(folder)
    one_of("layout", layout, LAYOUTS)
    refuse_occupied(place)
    try:
        with build_aside(place) as part:
            return [place / folder.relative_to(part) for folder in _write(dictionary, part, layout, model)]
    except OSError as problem:
        raise refuse_write(place, problem) from problem


@checked
def convert_basis(
    source: str | Path | Dictionary,
    out: str | Path,
    to: str = "patchclamp",
    *,
    model: Any = None,
    note: Callable[[str], None] | None = None,
    **known: Any,
) -> list[Path]:
    """Convert a dictionary to the layout of another library, or another library's to patchclamp's own.

    Args:
        source: a dictionary, or where one lies, as for ``open_dictionary``.
        out: a new or empty folder.
        to: ``saelens``, ``sparsify`` or ``patchclamp``.
        model: the model that it is of, whose norms decide what the other library calls a place.
        note: called with a sentence for each thing that is assumed.
        known: what the folder does not tell, as ``open_dictionary`` takes it: ``site``, ``reads``, ``name``,
            ``center``, ``prepend_bos``.

    Returns:
        list[Path]: the folders that were written, one for each site where the library keeps one coder to a folder.

    Raises:
        PatchclampError: nothing there, no dictionary, a library that has no such coder, or a folder that is not empty.

    Cost: one copy of the weights.

    Example:
        >>> from tempfile import mkdtemp
        >>> basis = Basis("lab", "directions", np.eye(2), np.eye(2), np.zeros(2), np.zeros(2), activation="relu")
        >>> dictionary = Dictionary({"blocks.0.resid_out": basis}, {"slug": "cat"}, "by hand")
        >>> [folder] = convert_basis(dictionary, Path(mkdtemp()) / "there", "saelens")
        >>> open_dictionary(convert_basis(folder, Path(mkdtemp()) / "back")[0]).single().name
        'lab'
    """
    dictionary = source if isinstance(source, Dictionary) else open_dictionary(source, **known)
    notes = [str(line) for line in dictionary.about.get("assumed") or ()]
    beside_norms = [site for site in dictionary.bases if site.rpartition(".")[2] in ("write", "resid_mid")]
    if model is None and to != "patchclamp" and beside_norms:
        named = "they keep their own names" if to == "sparsify" else "named as if norms stood before attention and MLP"
        notes.append(
            f"what {to} calls {', '.join(beside_norms[:4])} depends on the model's norms; {named} (a model names them)"
        )
    if note is not None:
        for line in notes:
            note(line)
    return write_dictionary(dictionary, out, to, model=model)


def _write(dictionary: Dictionary, place: Path, layout: str, model: Any) -> list[Path]:
    if layout == "patchclamp":
        dictionary.save(place)
        return [place]
    if any(basis.further for basis in dictionary.bases.values()):
        raise PatchclampError(
            expected=f"units that write one site each, for {layout}",
            got="a cross-layer transcoder",
            remedy="Write it as patchclamp's own: --to patchclamp.",
        )
    made: dict[str, tuple[dict[str, Any], dict[str, np.ndarray], str]] = {}
    dictionary = dictionary if model is None else resolve_sites(model, dictionary)
    hooks, conditions = (dict(dictionary.about.get(key) or {}) for key in (HOOKS, CONDITIONS))
    for site, basis in dictionary.bases.items():
        own = {
            "site": site,
            "reads": basis.reads,
            "name": basis.name,
            "method": dictionary.method,
            "subject": dict(dictionary.subject),
            HOOKS: dict(hooks),
            CONDITIONS: dict(conditions),
        }
        if layout == "saelens":
            where, read = (hooks.get(s) or hook_of(s, model) for s in (site, basis.reads or site))
            slug_of_model = str(dictionary.subject.get("slug", ""))
            cfg, tensors = saelens.write(basis, where, read, slug_of_model, written_conditions(conditions))
            made[where] = ({**cfg, "patchclamp": own}, tensors, saelens.WEIGHTS)
        else:
            cfg, tensors = sparsify.write(basis)
            made[hookpoint_of(site, model)] = ({**cfg, "patchclamp": own}, tensors, sparsify.WEIGHTS)
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


def _locate_layer(source: str | Path) -> tuple[Path, int | None]:
    """Return the folder of a dictionary, and the layer where the file of one layer is named."""
    named, at, revision = str(source).partition("@")
    name = named.rpartition("/")[2]
    layer = _LAYER_FILE.fullmatch(name)
    if layer is None:
        return locate(source), None
    folder = locate(f"{named.removesuffix(name).rstrip('/') or '.'}{at}{revision}", name)
    if not (folder / name).is_file():
        raise PatchclampError(expected=f"{name} in {folder}", got="no such file", remedy="Check the number.")
    return folder, int(layer[1])


def locate(source: str | Path, layer: str = "") -> Path:
    """Return the folder of a dictionary, fetched from the hub where it is a name there.

    Args:
        source: a folder, or a name on the hub.
        layer: the one file of weights to fetch from the hub; all by default.

    Raises:
        PatchclampError: neither a folder nor a name, or the hub cannot give it.
    """
    text, place = str(source), Path(source).expanduser()
    if place.is_dir():
        return place
    if place.is_file() and place.name in MARKS:
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
    settings = (OWN, saelens.SETTINGS, gemma_scope.SETTINGS, circuit_tracer.SETTINGS)
    weights = ("basis-*.safetensors", *MARKS, *(f"{stem}_*.safetensors" for stem in ("layer", "W_enc", "W_dec")))
    wanted = [f"{lead}{file}" for file in (*settings, *([layer] if layer else weights))]
    try:
        from huggingface_hub import snapshot_download

        fetched = Path(
            snapshot_download(
                f"{owner}/{repository}", revision=revision or None, allow_patterns=wanted, **hub_options()
            )
        )
    except Exception as problem:  # the hub's own errors, the network's and the disk's
        raise PatchclampError(
            expected=f"the folder {under or 'at the top'} of {owner}/{repository} on the Hugging Face hub",
            got=f"{type(problem).__name__}: {problem}"[:300],
            remedy="Check the name and the network, or fetch it by hand and name the folder.",
        ) from problem
    if not (fetched / under).is_dir():
        raise PatchclampError(
            expected=f"a dictionary in {under or 'the top folder'} of {owner}/{repository}",
            got="no such folder",
            remedy="Name the folder that holds the weights: owner/repository/folder. Pickles (ae.pt) are not fetched.",
        )
    return fetched / under


def _settle(
    dictionary: Dictionary, center: bool | None, prepend_bos: bool | None, *, foreign: bool = False
) -> Dictionary:
    """Return a dictionary with what is known and what is assumed of its input, the mean taken off where it was."""
    given = {k: v for k, v in (("centred", center), ("prepend_bos", prepend_bos)) if v is not None}
    if not given and not foreign:
        return dictionary
    conditions = {**(dictionary.about.get(CONDITIONS) or {}), **given}
    reading = {site: basis.reads or site for site, basis in dictionary.bases.items()}
    streams = [site for site, read in reading.items() if in_stream(read)]
    if center and not streams:
        raise PatchclampError(
            expected="a basis that reads the residual stream or what is added to it",
            got=", ".join(reading.values()),
            remedy="Leave --center out: center_writing_weights changes nothing there.",
        )
    fold = conditions.get("centred") and (foreign or center)
    bases = {site: centre(basis) if fold and site in streams else basis for site, basis in dictionary.bases.items()}
    about = {k: v for k, v in dictionary.about.items() if k != ASSUMED}
    assumed = assume(conditions, list(reading.values())) if foreign or ASSUMED in dictionary.about else []
    more = {ASSUMED: assumed} if assumed else {}
    return replace(dictionary, bases=bases, about={**about, CONDITIONS: conditions, **more})


def _refuse_pickles(folder: Path) -> None:
    """Refuse a folder whose weights are a pickle, by that name."""
    pickles = sorted(f.name for f in folder.iterdir() if f.suffix in PICKLES)
    if pickles:
        raise PatchclampError(
            expected=f"weights in safetensors or npz: {', '.join(MARKS)}",
            got=f"{', '.join(pickles[:3])}, a pickle, which can run code when it is opened",
            remedy="Pickles are never loaded. Fetch the same dictionary in another format (SAELens and sparsify keep "
            "safetensors), or write its tensors as safetensors with the library that made it: of dictionary_learning's "
            "ae.pt as ae.safetensors beside its config.json, every tensor under its own name.",
        )


def _layout(folder: Path) -> str | None:
    marked = next((layout for file, layout in MARKS.items() if (folder / file).is_file()), None)
    return TRACER if marked is None and circuit_tracer.is_here(folder) else marked


def _read(folder: Path, source: str, only: int | None) -> list[Part]:
    match _layout(folder):
        case "circuit-tracer":
            return circuit_tracer.read(folder, only)
        case "gemma-scope-2":
            return [gemma_scope.read_second(folder)]
        case "gemma-scope":
            return [gemma_scope.read(folder, source)]
        case "dictionary_learning":
            return [dictionary_learning.read(folder)]
        case "saelens":
            return [saelens.read(folder)]
    return [sparsify.read(folder)]


def _check_named(given: Mapping[str, str | None], has: Mapping[str, str | None]) -> None:
    """Refuse a site that contradicts what a folder says itself; "" where it reads no other site than it writes."""
    for flag, name in given.items():
        says = has[flag]
        if name is not None and says is not None and name != says:
            verb = "writes" if flag == "--sites" else "reads"
            raise PatchclampError(
                expected=f"the site that the folder {verb}: {says}" if says else f"{flag} with a transcoder",
                got=f"{flag} {name}",
                remedy=f"Leave {flag} out: " + ("the folder says it." if says else "no other site is read."),
            )


def _rename(dictionary: Dictionary, name: str) -> Dictionary:
    """Return a dictionary of our own under another name."""
    bases = {path: replace(basis, name=name) for path, basis in dictionary.bases.items()}
    return Dictionary(bases, dictionary.subject, dictionary.method, dictionary.about, dictionary.curves)
