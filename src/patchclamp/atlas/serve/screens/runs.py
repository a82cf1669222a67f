"""Where each part of the atlas came from, and what makes it again."""

from dataclasses import dataclass

from fastapi import FastAPI

from patchclamp.atlas.read.reader import NotFound, Reading, number_or_none, page_of
from patchclamp.atlas.read.responses import Source
from patchclamp.atlas.serve.served import Served
from patchclamp.atlas.store.provenance import UNVERIFIED, Run


@dataclass(frozen=True)
class RunRow:
    """One run that made a part of the atlas.

    Args:
        id: the part that it made: ``base-…``, ``descriptions-…`` or ``graph-…``.
        verb: ``atlas bake``, ``explain`` or ``describe``.
        command: what was typed.
        began: when, as ISO 8601 in UTC; None where no record was kept.
        duration_s: how long it took.
        made: what it made, in words.
    """

    id: str
    verb: str
    command: str
    began: str | None
    duration_s: float | None
    made: str


@dataclass(frozen=True)
class RunList:
    """Runs: where did this come from? The newest first; ``unverified`` says what vouches for them: nothing."""

    rows: list[RunRow]
    total: int
    unverified: str
    source: Source


@dataclass(frozen=True)
class RunPage:
    """One run, with what is needed to do it again.

    Args:
        run: the row.
        host: the machine, as it called itself; None where no record was kept.
        versions: of patchclamp, Python and the libraries.
        seeds: by name.
        hashes: of model, tokenizer, text and of what was made.
        options: how the run was set up.
        log: what happened, line by line.
        rebuild: a shell script that makes the same part again.
        curves: what was followed while a dictionary was trained: site to measure to a list of ``[step, value]``.
        unverified: what vouches for command and script: nothing.
        source: where this page comes from.
    """

    run: RunRow
    host: str | None
    versions: dict[str, str]
    seeds: dict[str, int]
    hashes: dict[str, str]
    options: dict[str, str]
    log: list[str]
    rebuild: str
    curves: dict[str, dict[str, list[list[float]]]]
    unverified: str
    source: Source


def add_routes(app: FastAPI, served: Served) -> None:
    """Add the addresses of the runs."""

    @app.get("/api/runs", operation_id="listRuns")
    def list_runs() -> RunList:
        """Runs: where did this come from?"""
        return run_list(served.atlas())

    @app.get("/api/runs/{id}", operation_id="readRun")
    def read_run(id: str) -> RunPage:
        """Read one run, with what is needed to do it again."""
        return run_page(served.atlas(), id)


@page_of
def run_list(atlas: Reading) -> RunList:
    """Return the runs that made this atlas, the newest first."""
    rows = [_run_row(id, run) for id, run in atlas.runs.items()]
    return RunList(rows, len(rows), UNVERIFIED, atlas.source(".runs()"))


@page_of
def run_page(atlas: Reading, id: str) -> RunPage:
    """Return one run, with what is needed to do it again.

    Raises:
        NotFound: no part of this atlas has that id.
    """
    run = atlas.runs.get(id)
    if run is None:
        raise NotFound(expected="a run that made part of this atlas", got=repr(id[:80]), remedy="/runs lists them.")
    return RunPage(
        run=_run_row(id, run),
        host=run.host,
        versions=run.versions,
        seeds=run.seeds,
        hashes=run.hashes,
        options=run.options,
        log=list(run.log),
        rebuild=run.rebuild,
        curves=_curves(atlas, id),
        unverified=UNVERIFIED,
        source=atlas.source(f".run({id!r})", id),
    )


def _curves(atlas: Reading, id: str) -> dict[str, dict[str, list[list[float]]]]:
    """Return the training curves of a layer of features, without what is no list of pairs of numbers."""
    part = next((part for part in atlas.parts[1:] if part.id == id), None)
    curves = part.about["dictionary"]["curves"] if part else {}
    by_name: dict[str, dict[str, list[list[float]]]] = {}
    for site, measures in curves.items():
        for name, pairs in measures.items() if isinstance(measures, dict) else ():
            kept = (
                [
                    [float(x), float(y)]
                    for x, y in (pair for pair in pairs if isinstance(pair, list) and len(pair) == 2)
                    if number_or_none(y) is not None
                ]
                if isinstance(pairs, list)
                else []
            )
            if kept:
                by_name.setdefault(site, {})[name] = kept
    return by_name


def _run_row(id: str, run: Run) -> RunRow:
    return RunRow(id, run.verb, run.command, run.began, number_or_none(run.duration_s), run.made)
