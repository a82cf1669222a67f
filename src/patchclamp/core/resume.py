"""Begin a bundle, or go on with the interrupted one that has the same plan."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patchclamp.core.bundle import Bundle
from patchclamp.core.disk import hold_folder, is_url
from patchclamp.core.errors import Damaged, PatchclampError
from patchclamp.core.object_store import create_bundle, open_bundle

THREADS = "plan.threads"
"""What a resume may have otherwise: it computes with as many threads as the run was begun with."""


@contextmanager
def open_or_resume(
    folder: str | Path, *, kind: str, manifest: Mapping[str, Any], resume: bool, what: str = "data and options"
) -> Iterator[Bundle]:
    """Hold a folder for this process alone: a new bundle, or the interrupted one whose manifest says the same.

    Args:
        folder: where it lies.
        kind: of the bundle.
        manifest: everything that decides its bytes.
        resume: whether an interrupted one is to go on; where none was begun, it is begun.
        what: what the manifest is about, in words.

    Yields:
        Bundle: open for writing, with the pieces that were committed before.

    Raises:
        PatchclampError: the folder holds something, another process writes there, or what was begun there has another
            manifest.
        Damaged: what was begun there cannot be read.
    """
    if is_url(folder):
        yield _begin(str(folder), kind, manifest, what, resume=resume)
        return
    place = Path(folder)
    with hold_folder(place):
        if not resume or not (place / "manifest.json").exists():
            yield Bundle.create(place, kind=kind, manifest=manifest)
            return
        bundle = Bundle.open(place, kind=kind)
        refuse_other_plan(place, manifest, {name: bundle.manifest.get(name) for name in manifest}, what)
        bundle.resume()
        yield bundle


def _begin(url: str, kind: str, manifest: Mapping[str, Any], what: str, *, resume: bool) -> Bundle:
    """Return a bundle in a store, which nobody can hold."""
    try:
        bundle = open_bundle(url, kind=kind) if resume else None
    except Damaged:
        raise
    except PatchclampError as problem:
        if "no manifest.json" not in problem.got:
            raise
        bundle = None
    if bundle is None:
        return create_bundle(url, kind=kind, manifest=manifest)
    refuse_other_plan(url, manifest, {name: bundle.manifest.get(name) for name in manifest}, what)
    bundle.resume()
    return bundle


def refuse_other_plan(place: str | Path, now: Mapping[str, Any], then: Mapping[str, Any], what: str) -> None:
    """Refuse to go on with what was begun with another plan, whatever the number of threads.

    Args:
        place: the folder.
        now: the manifest that a run would have now.
        then: the one that it was begun with.
        what: what they are about, in words.

    Raises:
        PatchclampError: the first differences, each with its place, what it was and what it is.

    Example:
        >>> refuse_other_plan("d", {"seed": 1}, {"seed": 0}, "options")
        Traceback (most recent call last):
        patchclamp.core.errors.PatchclampError: expected the same options as d was begun with; got seed: 0 then, 1 ...
    """
    fresh, kept = _flat(json.loads(json.dumps(now))), _flat(then)
    changed = [
        f"{name}: {kept.get(name)!s:.60} then, {fresh.get(name)!s:.60} now"
        for name in dict.fromkeys([*fresh, *kept])
        if fresh.get(name) != kept.get(name) and name != THREADS
    ]
    if changed:
        raise PatchclampError(
            expected=f"the same {what} as {place} was begun with",
            got="; ".join(changed[:4]),
            remedy="Resume with the same options, or choose a new --out.",
        )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested data by the place of each value; a list of plain values is one value."""
    if isinstance(data, list) and data and all(isinstance(one, Mapping) and "path" in one for one in data):
        data = ", ".join(str(one["path"]) for one in data)  # of sites a reader asks which they are
    pairs: Collection[tuple[Any, Any]]
    if isinstance(data, Mapping):
        pairs = data.items()
    elif isinstance(data, list) and any(isinstance(one, Mapping | list) for one in data):
        pairs = list(enumerate(data))
    else:
        return {prefix.rstrip("."): data}
    return {k: v for name, value in pairs for k, v in _flat(value, f"{prefix}{name}.").items()}
