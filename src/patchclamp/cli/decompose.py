"""Train sparse coders or factorise, and show the features."""

import itertools
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchclamp.cli.basis_tables import first_lines
from patchclamp.cli.loading import load_model
from patchclamp.cli.options import CODERS
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter, human_bytes
from patchclamp.cli.tables import _console, _general, _grid, _print
from patchclamp.core.errors import PatchclampError
from patchclamp.core.unit import SLUG

TAKES = {
    "k": ("topk", "batchtopk", "random"),
    "sparsity": ("l1", "jumprelu", "snmf"),
    "learning_rate": CODERS,
}
FEATURES, EXPANSION, K, SHARE = 100, 16.0, 32, 0.01
BARS = "▁▂▃▄▅▆▇█"
SHOWN = ("loss", "unexplained", "l0", "dead")


def decompose(options: Namespace) -> int:
    """Train or factorise, write the folder, and show it."""
    from patchclamp.core.disk import refuse_occupied
    from patchclamp.decompose import TextSource
    from patchclamp.decompose.training import BEGUN

    _check(options)
    coded = options.method in CODERS
    refuse_occupied(Path(options.out), begun=BEGUN if coded else (), resume=options.resume)
    model = load_model(options)
    if not hasattr(model, "tokenize"):
        raise PatchclampError(
            expected="a language model", got=f"{model.name}, a model of images", remedy="Decompose it in Python."
        )
    source = TextSource(
        model, options.text, window=options.window, batch_size=options.batch_size, max_tokens=options.max_tokens,
        chat=options.chat, bos=not options.no_bos, skip_first=options.skip_first,
    )  # fmt: skip
    made = _train(options, model, source) if coded else _factorise(options, model, source)
    rows = [_row(site, basis, made.curves.get(site, {})) for site, basis in made.bases.items()]
    if options.json:
        emit(
            {
                "out": options.out, "name": made.name, "method": made.method, "subject": dict(made.subject),
                "bases": rows, "curves": dict(made.curves), "first_tokens": made.about.get("first_tokens", {}),
            }
        )  # fmt: skip
    else:
        _table(made, rows, options.out)
    return 0


def _check(options: Namespace) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Raises:
        PatchclampError: with the option.
    """
    for name, methods in TAKES.items():
        if getattr(options, name) is not None and options.method not in methods:
            raise PatchclampError(
                expected=f"--{name.replace('_', '-')} with --method {' or '.join(methods)}",
                got=f"--method {options.method}",
                remedy="Leave it out, or choose another method.",
            )
    if options.method not in CODERS and (options.resume or options.transcode is not None or options.passes != 1):
        given = "--resume" if options.resume else "--transcode" if options.transcode is not None else "--passes"
        raise PatchclampError(
            expected=f"{given} with --method {' or '.join(CODERS)}",
            got=f"--method {options.method}",
            remedy="Leave it out, or choose another method.",
        )
    if options.skip_connection and options.transcode is None:
        raise PatchclampError(
            expected="--skip-connection with --transcode", got="--site", remedy="Leave it out, or transcode."
        )
    features = options.expansion if options.n_features is None else options.n_features
    if features is not None and not 0 < features < 2**31:
        raise PatchclampError(expected="at least 1 feature", got=str(features), remedy="Give more.")
    if options.name is not None and not SLUG.fullmatch(options.name):
        raise PatchclampError(
            expected="a --name of lower-case letters, digits, dots, dashes and underscores",
            got=repr(options.name),
            remedy="Keys of features hold it.",
        )


def _features(options: Namespace, width: int) -> int:
    if options.n_features is not None:
        return int(options.n_features)
    if options.expansion is None and options.method not in CODERS:
        return FEATURES
    return max(round((options.expansion or EXPANSION) * width), 1)


def _train(options: Namespace, model: Any, source: Any) -> Any:
    from patchclamp.decompose import Job, Recipe, train_dictionary
    from patchclamp.decompose.estimator import config_of
    from patchclamp.decompose.training import disk_bytes, memory_bytes
    from patchclamp.decompose.transcoding import mlp_sites
    from patchclamp.record.stream import recordable

    if options.transcode is None:
        pairs = [(site.path, site.path) for site in recordable(model, options.site)]
    else:
        pairs = [mlp_sites(model, layer) for layer in _layers(options.transcode, model.n_layers)]
    jobs = [
        Job(reads, writes, config_of(
            options.method, _features(options, source.width(writes)), k=options.k, sparsity=options.sparsity,
            skip=options.skip_connection,
        ))
        for reads, writes in pairs
    ]  # fmt: skip
    recipe = Recipe(
        batch_size=options.coder_batch, learning_rate=options.learning_rate, passes=options.passes,
        buffer_bytes=options.buffer * 2**20, seed=options.seed,
    )  # fmt: skip
    total = source.n_rows * recipe.passes // recipe.batch_size * recipe.batch_size
    n_latents = sum(job.config.n_latents for job in jobs)
    log(
        f"{n_latents:,} latents at {len(jobs)} site{'s' * (len(jobs) > 1)}, {total:,} activations: "
        f"about {human_bytes(memory_bytes(source, jobs, recipe))} of memory besides the model's, "
        f"up to {human_bytes(disk_bytes(source, jobs))} on disk while it runs",
    )
    with Meter("train", "activations") as meter:
        return train_dictionary(
            source, jobs, recipe, out=options.out, name=options.name, resume=options.resume, device=options.device
            if options.device != "auto" else str(model.device), progress=meter,
        )  # fmt: skip


def _layers(text: str, n_layers: int) -> list[int]:
    if text.strip() == "*":
        return list(range(n_layers))
    try:
        return list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as problem:
        raise PatchclampError(
            expected="blocks' numbers, joined by commas, or '*'", got=repr(text), remedy="Such as --transcode 3."
        ) from problem


def _factorise(options: Namespace, model: Any, source: Any) -> Any:
    from patchclamp.core.dictionary import Dictionary
    from patchclamp.core.disk import refuse_unwritable
    from patchclamp.decompose import gather
    from patchclamp.decompose.first_tokens import measure_first_tokens
    from patchclamp.decompose.training import refuse_if_no_room
    from patchclamp.record.stream import recordable

    bases, curves = {}, {}
    sites = recordable(model, options.site)
    for site in sites:
        _check_factors(options, source.n_rows, site)
    refuse_unwritable(options.out)
    for site in sites:
        # the activations, and a copy that the method works on
        memory = 2 * source.n_rows * site.width * 4
        log(f"{site.path}: {source.n_rows:,} activations, about {human_bytes(memory)} of memory")
        refuse_if_no_room(memory)
        bases[site.path], curves[site.path] = _factors(options, gather(source, site.path), site.width)
    about = {
        "plan": {**source.about, "seed": options.seed, "sparsity": options.sparsity, "k": options.k},
        "first_tokens": measure_first_tokens(source, bases),
    }
    made = Dictionary(bases, dict(source.subject), options.method, about, curves)
    made.save(options.out)
    return made


def _factors(options: Namespace, x: Any, width: int) -> tuple[Any, dict[str, Any]]:
    """Return one site's basis, and what of its activations it explains with how many units."""
    n, seed = _features(options, width), options.seed
    name = options.name or f"{options.method}-{n}"
    curves: dict[str, Any] = {}
    if options.method == "pca":
        from patchclamp.decompose.baselines import principal_components

        basis = principal_components(x, n, name)
    elif options.method == "random":
        from patchclamp.decompose.baselines import random_directions

        basis = random_directions(x, n, K if options.k is None else options.k, seed=seed, name=name)
    else:
        fitted = _estimator(options, n).fit(x)
        basis, curves = fitted.to_basis(name), dict(getattr(fitted, "curves", {}))
    return basis, {**curves, **_measures(basis, x)}


def _check_factors(options: Namespace, n_rows: int, site: Any) -> None:
    """Refuse, before activations are computed, numbers that the method cannot have at a site.

    Raises:
        PatchclampError: with the number.
    """
    from patchclamp.decompose.baselines import check_components, check_kept

    n = _features(options, site.width)
    if options.method == "pca":
        check_components(n, n_rows, site.width)
    elif options.method == "random":
        check_kept(K if options.k is None else options.k, n)
    else:
        _estimator(options, n).check(n_rows)


def _estimator(options: Namespace, n: int) -> Any:
    if options.method == "nmf":
        from patchclamp.decompose.nmf import NMF

        return NMF(n_features=n, seed=options.seed)
    from patchclamp.decompose.snmf import SNMF

    return SNMF(
        n_features=n, sparsity=SHARE if options.sparsity is None else options.sparsity, seed=options.seed,
        device=options.device if options.device != "auto" else None,
    )  # fmt: skip


def _measures(basis: Any, x: Any, most: int = 8192) -> dict[str, Any]:
    """Return the share of the variance that a basis leaves of its own activations, and its active units per vector."""
    import torch

    from patchclamp.subjects.bases import decode, encode

    rows = torch.from_numpy(x[:: max(len(x) // most, 1)][:most])
    with torch.no_grad():
        f = encode(basis, rows)
        error = rows - decode(basis, f)
    variance = (rows - rows.mean(0)).square().sum().clamp(min=1e-12)
    on = (f.abs() > 0).float()
    measures = {
        "unexplained": float(error.square().sum() / variance), "l0": float(on.sum(1).mean()),
        "dead": float((on.sum(0) == 0).float().mean()),
    }  # fmt: skip
    return {name: [[len(rows), value]] for name, value in measures.items()}


def _row(site: str, basis: Any, curves: Mapping[str, Any]) -> dict[str, Any]:
    last = {name: curves[name][-1][1] if curves.get(name) else None for name in SHOWN}
    return {
        "site": site, "reads": basis.reads, "units": basis.n_units, "activation": basis.activation, "k": basis.k, **last
    }  # fmt: skip


def _table(made: Any, rows: Sequence[Mapping[str, Any]], out: str) -> None:
    console = _console()
    console.print(f"{made.method} features '{made.name}' of {made.subject['slug']}, in {out}", markup=False)
    table = _grid("site", "features", *SHOWN, "loss over time", numbers=("features", *SHOWN))
    for row in rows:
        values = ["" if row[name] is None else _general(row[name]) for name in SHOWN]
        curve = made.curves.get(row["site"], {}).get("loss", [])
        table.add_row(row["site"], f"{row['units']:,}", *values, sparkline([value for _, value in curve]))
    _print(console, table)
    for row in rows:
        if row["reads"]:
            console.print(f"{row['site']} is written from {row['reads']}", markup=False)
    console.print(
        "unexplained: share of the variance; l0: active features per vector; dead: share of features that never fire",
        markup=False,
    )
    for site, first in made.about.get("first_tokens", {}).items():
        for line in first_lines(site, first["norm"], first["tokens"], first["unexplained"], first["without"]):
            console.print(line, markup=False)


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Return a curve as one line of bars, its own least lowest and its own largest highest.

    Example:
        >>> sparkline([3.0, 2.0, 1.0])
        '█▅▁'
    """
    values = [value for value in values if math.isfinite(value)]
    if not values:
        return ""
    n = min(width, len(values))
    edges = [len(values) * i // n for i in range(n + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in means)
