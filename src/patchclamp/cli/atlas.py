"""Bake, serve, inspect and share an atlas."""

import shlex
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from patchclamp.cli import tables
from patchclamp.cli.loading import corpus_of, load_model, print_conditions
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter, human_bytes

MOST_LISTED = 20


def atlas(options: Namespace) -> int:
    """Bake, add features, serve, share, or say what an atlas holds."""
    return {"bake": _bake, "add": _add, "serve": _serve, "info": _info, "export": _export}[options.what](options)


def _bake(options: Namespace) -> int:
    from patchclamp.atlas.bake.base import bake_atlas, cost, refuse_baked, refuse_images
    from patchclamp.subjects.recordable import is_recordable
    from patchclamp.subjects.text import passages

    refuse_baked(options.out, resume=options.resume)
    model = load_model(options)
    refuse_images(model)
    chosen = is_recordable(model, options.sites)
    next(passages(options.text), None)  # refuses what is no text before the cost is stated
    memory, disk = map(human_bytes, cost(chosen))
    n_units = sum(site.width for site in chosen)
    log(
        f"{n_units:,} units of {len(chosen)} sites: two passes over the text, about {memory} of memory, {disk} on disk",
    )
    with Meter("bake") as meter:
        bake_atlas(
            model, corpus_of(options), options.out, sites=options.sites, resume=options.resume, name=options.model,
            command=shlex.join(["patchclamp", *options.words]), progress=meter,
            batch_size=options.batch_size, seed=options.seed,
        )  # fmt: skip
    return _show(options.out, options.json)


def _add(options: Namespace) -> int:
    from patchclamp.atlas.atlas import open_atlas
    from patchclamp.atlas.bake.features import add_basis, array_bytes, check_basis, estimate_bytes
    from patchclamp.atlas.lab import usual_model
    from patchclamp.core.dictionary import Dictionary
    from patchclamp.loaders import load
    from patchclamp.subjects.site_names import resolve_sites

    found = Dictionary.load(options.basis)
    name = options.model or usual_model(open_atlas(options.atlas).reading)
    if options.model is None:
        log(f"the model is {name!r}, as runs.sqlite says, which is under no hash; --model names another")
    model = load(name, prepend_bos=options.prepend_bos)
    found = resolve_sites(model, found)
    print_conditions(model, found, options.basis)
    check_basis(options.atlas, model, found, text=options.text)
    n_features = sum(basis.n_units for basis in found.bases.values())
    *sizes, kept = estimate_bytes(model, found)
    memory, disk = map(human_bytes, sizes)
    log(
        f"{n_features:,} features of {len(found.bases)} sites: two passes over the text, about {memory} of memory, "
        f"{disk} on disk; the dictionary ({human_bytes(array_bytes(found))}) is {'' if kept else 'not '}kept in it",
    )
    with Meter("add") as meter:
        add_basis(
            options.atlas, model, found, text=options.text, max_tokens=options.max_tokens,
            batch_size=options.batch_size, resume=options.resume, folder=str(Path(options.basis).resolve()),
            command=shlex.join(["patchclamp", *options.words]), progress=meter,
        )  # fmt: skip
    return _show(options.atlas, options.json)


def _info(options: Namespace) -> int:
    return _show(options.atlas, options.json)


def _show(path: str, as_json: bool) -> int:
    from patchclamp.atlas.atlas import open_atlas

    page = open_atlas(path).page()
    emit(asdict(page)) if as_json else tables.atlas(page)
    return 0


def _serve(options: Namespace) -> int:
    import threading
    import webbrowser

    from patchclamp.atlas.serve.server import serve

    def ready(address: str) -> None:
        if options.json:
            emit({"address": address})
        else:
            print(address)
            log("Ctrl-C ends it.")
        sys.stdout.flush()
        if options.open:
            # A browser may take its time to start; the server must not wait for it.
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    try:
        serve(
            options.atlas, host=options.host, port=options.port, model=options.model, basis=options.basis,
            prepend_bos=options.prepend_bos, ready=ready,
        )  # fmt: skip
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the way that a server ends
    return 0


def _export(options: Namespace) -> int:
    from patchclamp.atlas.export import export_atlas

    with Meter("export", "units") as meter:
        found = export_atlas(
            options.atlas, options.out, format=options.format, unit=options.unit, progress=meter
        )  # fmt: skip
    if options.json:
        emit({**asdict(found), "bytes": found.bytes})
        return 0
    units = f"{found.units:,} unit{'s' if found.units != 1 else ''}"
    print(f"{found.out}: {units}, {human_bytes(found.bytes)}")
    if 1 < len(found.files) <= MOST_LISTED:
        for name, size in found.files.items():
            print(f"  {name}  {human_bytes(size)}")
    return 0
