"""What `explain` checks and says before it computes anything."""

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from patchclamp.cli.output import log
from patchclamp.cli.progress import human_bytes
from patchclamp.core.errors import PatchclampError


def state_cost(model: Any, options: Namespace, prompt: Any, levels: list[str]) -> None:
    """Say what will be scored, and what that costs."""
    from patchclamp.attribute.nodes import BYTES_PER_NODE, count_nodes, level_sites
    from patchclamp.attribute.rules import PathIntegral, Replacement, find_rule
    from patchclamp.recipes.receipts import count_rows

    n_nodes = count_nodes(model, max(map(len, model.stimuli(prompt))), levels)
    _, rule = find_rule(options.method)
    scoring = "1 backward pass"
    if isinstance(rule, Replacement):
        scoring = f"{n_nodes:,} rows of forward passes"
    elif isinstance(rule, PathIntegral):
        scoring = f"{rule.steps * len(level_sites(model, levels)):,} rows of backward passes"
    receipts = count_rows(n_nodes, top=options.top, n_controls=options.controls)
    memory = human_bytes(n_nodes * BYTES_PER_NODE)
    log(
        f"{n_nodes:,} units at all positions: {scoring}, about {receipts:,} rows of forward passes for the receipts, "
        f"{memory} of memory besides the network's own",
    )


def means_of(options: Namespace) -> Any:
    """Return the survey whose means are the baseline, or None."""
    if options.baseline is not None and options.corrupt is not None:
        raise PatchclampError(expected="one baseline", got="--baseline and --corrupt", remedy="Leave one of them out.")
    if options.baseline in (None, "zero"):
        return None
    from patchclamp.core.survey import StoredSurvey

    return StoredSurvey(options.baseline)


KEPT = ("manifest.json", "config.json", "basis.json", "atlas.json")
"""A folder with one of these is a model's, or one that patchclamp wrote: no file in it is replaced."""
ENDINGS = {"--report": (".html", ".htm"), "--out": (".json",)}
"""How the name of a file ends that an option may replace."""


def is_kept(folder: Path) -> bool:
    """Say whether a folder holds a model, or what patchclamp wrote."""
    return any((folder / name).exists() for name in KEPT)


def _is_graph(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"patchclamp-graph" in file.read(400)
    except OSError:
        return False


def check_writable(name: str, option: str) -> None:
    """Refuse, before anything is computed, a file that cannot be written, or that holds something else."""
    path = Path(name)
    own = path.name in KEPT or (path.suffix == ".json" and is_kept(path.absolute().parent) and not _is_graph(path))
    if path.is_file() and (own or path.suffix.lower() not in ENDINGS[option]):
        raise PatchclampError(
            expected=f"a new name for {option}, or an earlier file of its kind ({', '.join(ENDINGS[option])})",
            got=f"{name}, which is there and holds something else",
            remedy="Choose another name or folder.",
        )
    whole = (
        name and not name.endswith("/") and path.absolute().parent.is_dir() and (path.is_file() or not path.exists())
    )
    try:
        if whole:
            with tempfile.TemporaryFile(dir=path.absolute().parent):
                return
    except OSError:
        pass
    raise PatchclampError(
        expected="a file to write, in a folder that exists and can be written to",
        got=repr(name),
        remedy=f"Give another {option}.",
    )
