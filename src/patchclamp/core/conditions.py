"""The conditions of a recording as a matrix: one row per stimulus, one column per unit."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal

import numpy as np
from jaxtyping import Float

from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import Recording, as_numpy
from patchclamp.core.task import Case, words_of

Pool = Literal["mean", "last"]


def only_site(recording: Recording, site: str = "") -> str:
    """Return the site that is meant: the one named, or the only one that the recording holds.

    Raises:
        PatchclampError: a site that it does not hold, or none named where it holds several.
    """
    if site in recording.values:
        return site
    held = list(recording.values)
    if site or len(held) != 1:
        raise PatchclampError(
            expected=f"a site among {', '.join(held[:8]) or 'none: the recording is empty'}",
            got=repr(site) if site else f"{len(held)} sites and none named",
            remedy="Name one: --site; to compare recordings --sites, or --first-site and --second-site.",
        )
    return held[0]


def check_cases(recording: Recording, cases: Sequence[Case]) -> None:
    """Refuse cases that are not those that were recorded, in the same order, as far as both say what was shown.

    Texts are compared, several ids of tokens, and the names of pictures' files. One number alone stands for any
    stimulus; the samples of a brain do not say what was shown, nor do arrays: of these only the number is compared.

    Args:
        recording: of as many stimuli as there are cases.
        cases: what each stimulus was, in order.

    Raises:
        PatchclampError: names the first that differs.
    """
    for i, (stimulus, case) in enumerate(zip(recording.stimuli, cases, strict=True)):
        text, name = getattr(stimulus, "text", None), PurePath(getattr(stimulus, "name", "")).name
        if isinstance(case.shown, str):
            other = case.shown != text if text is not None else name not in ("", PurePath(case.shown).name)
            said = text if text is not None else name
        else:
            ids = getattr(stimulus, "ids", None)
            several = isinstance(case.shown, tuple) and len(case.shown) > 1
            other = several and ids is not None and list(case.shown) != list(ids)
            said = text
        if other:
            raise PatchclampError(
                expected="labels of the stimuli that were recorded, in the same order",
                got=f"{words_of(case.shown)!r:.40} beside {said!r:.40} at {i}",
                remedy="Record the task's own cases.",
            )


def condition_matrix(recording: Recording, site: str, pool: Pool = "mean") -> Float[np.ndarray, "condition unit"]:
    """Return what every stimulus evoked at a site, in double precision.

    Args:
        recording: rows are tokens, places of a map, or samples.
        site: where.
        pool: ``mean`` over the rows that statistics count (all, where none of a stimulus counts), or the ``last`` row.

    Returns:
        Float[np.ndarray, "condition unit"]: one row per stimulus, one column per unit, float64.

    Raises:
        PatchclampError: values that are not finite.

    Example:
        >>> from patchclamp.loaders import load
        >>> cat = load("organism:cat")
        >>> run = cat.run(["the old cat", "the dog"], record="blocks.0.mlp.act", logits=False)
        >>> condition_matrix(run.recording, "blocks.0.mlp.act").shape
        (2, 16)
    """
    rows = []
    for i, stimulus in enumerate(recording.stimuli):
        values = np.asarray(as_numpy(recording.of(site, i)), dtype=np.float64)
        values = values.reshape(len(values), -1)
        counted = getattr(stimulus, "counted", None)
        if pool == "mean" and counted is not None and len(counted) == len(values) and counted.any():
            values = values[counted]
        rows.append(values[-1] if pool == "last" else values.mean(0))
    matrix: np.ndarray = np.stack(rows) if rows else np.zeros((0, 0))
    if not np.isfinite(matrix).all():
        raise PatchclampError(
            expected=f"finite values at {site}",
            got=f"{int((~np.isfinite(matrix)).sum())} that are not",
            remedy="Leave out the samples that are missing.",
        )
    return matrix
