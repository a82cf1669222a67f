"""Train sparse coders or factorise, and show the features."""

import itertools
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchclamp.cli.basis_tables import first_lines
from patchclamp.cli.loading import corpus_of, load_model
from patchclamp.cli.method_options import find_card, given_options
from patchclamp.cli.output import emit, log
from patchclamp.cli.progress import Meter, human_bytes
from patchclamp.cli.tables import _console, _general, _grid, _print
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method_index import methods

BARS = "▁▂▃▄▅▆▇█"
SHOWN = ("loss", "unexplained", "l0", "dead")
OWN = ("n_features", "expansion", "name", "batch_size")
"""Options of every method that the verb has itself."""


def decompose(options: Namespace) -> int:
    """Train or factorise, write the folder, and show it."""
    from patchclamp.core.disk import refuse_occupied
    from patchclamp.core.method_files import find_method
    from patchclamp.decompose import decompose as run
    from patchclamp.decompose.training import BEGUN

    _check(options)
    given = _options(options)
    method = find_method(options.method, "decompose")
    method.make_options(given)
    refuse_occupied(Path(options.out), begun=BEGUN if method.resumable else (), resume=options.resume)
    model = load_model(options)
    with Meter("decompose", "activations") as meter:
        made = run(
            model, corpus_of(options), site=options.site or "", transcode=options.transcode, method=method,
            out=options.out, resume=options.resume, seed=options.seed, progress=meter, state=_state, **given,
        )  # fmt: skip
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


def _options(options: Namespace) -> dict[str, Any]:
    """Return the method's options that were typed, those that the verb has itself among them."""
    given = {name: value for name in OWN if (value := getattr(options, name)) is not None}
    if options.skip_connection:
        given["skip_connection"] = True
    if options.device != "auto":
        given["device"] = options.device
    return {**given, **given_options(options)}


def _check(options: Namespace) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Raises:
        PatchclampError: with the option.
    """
    card = find_card(options.method, "decompose")
    able = {"--resume": _has_resume, "--transcode": _has_reads}
    for name, given in (("--resume", options.resume), ("--transcode", options.transcode is not None)):
        if given and not able[name](card):
            others = " or ".join(one.name for one in methods("decompose") if able[name](one))
            raise PatchclampError(
                expected=f"{name} with --method {others}",
                got=f"--method {options.method}",
                remedy="Leave it out, or choose another method.",
            )
    if options.skip_connection and options.transcode is None:
        raise PatchclampError(
            expected="--skip-connection with --transcode", got="--site", remedy="Leave it out, or transcode."
        )


def _has_resume(card: Any) -> bool:
    return bool(card.data["resumable"])


def _has_reads(card: Any) -> bool:
    """Return whether a method may read another site than it writes."""
    return "reads" in {entry["name"] for entry in card.data["options"]}


def _state(need: Any) -> None:
    disk = f", up to {human_bytes(need.disk)} on disk while it runs" if need.disk else ""
    log(f"{need.what}: about {human_bytes(need.memory)} of memory besides the model's{disk}")


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
