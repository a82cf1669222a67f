"""The passes behind the rows of an atlas: survey, second pass, neighbours; each goes on where it was interrupted."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from patchclamp.atlas.bake.look import CHECKPOINT_S, Look, run_look
from patchclamp.atlas.bake.neighbours import Method, Neighbours, Population, choose_method, find_neighbours
from patchclamp.atlas.bake.picture_pass import PictureLook
from patchclamp.atlas.bake.second_pass import TextLook
from patchclamp.core.bundle import Bundle
from patchclamp.core.site import Site
from patchclamp.core.subject import Progress
from patchclamp.core.survey import StoredSurvey
from patchclamp.engines import Engine
from patchclamp.record.features import Features
from patchclamp.record.heads import WithHeads
from patchclamp.record.picture_units import PictureUnits
from patchclamp.record.run import manifest_of, pin_threads
from patchclamp.record.survey import survey_corpus
from patchclamp.subjects.corpora import Batches


@runtime_checkable
class Neighbourly(Protocol):
    """Units of which it is known among which others their neighbours are sought."""

    def populations(self, look: Bundle) -> list[Population]:
        """Return the units, site by site."""

    def before(self) -> list[Population]:
        """Return others that may be their neighbours."""


@dataclass(frozen=True)
class How:
    """How passes are run.

    Args:
        resume: go on with interrupted ones.
        seed: of samples and of the pieces that are kept.
        checkpoint_s: seconds between checkpoints.
        neighbours: how they are found; None for exactly up to a number of units.
        progress: called with tokens done and tokens in all, of both passes over the stimuli.
        neighbours_progress: called with units done and units in all.
        engine: where the stimuli are shown; this process by default.
    """

    resume: bool
    seed: int
    checkpoint_s: float = CHECKPOINT_S
    neighbours: Method | None = None
    progress: Progress | None = None
    neighbours_progress: Progress | None = None
    engine: Engine | None = None


@dataclass(frozen=True, eq=False)
class Passes:
    """What the passes found.

    Args:
        survey: statistics and exemplars.
        look: histograms, strips of text or places on pictures, and samples.
        near: neighbours; None where they are left out.
    """

    survey: StoredSurvey
    look: Bundle
    near: Neighbours | None


@dataclass
class Log:
    """What happened, and after how many seconds."""

    lines: list[str]
    began: float = field(default_factory=time.monotonic)

    def note(self, what: str) -> None:
        """Add a line."""
        self.lines.append(f"{what} after {self.seconds:.1f} s")

    @property
    def seconds(self) -> float:
        """How long it took so far."""
        return round(time.monotonic() - self.began, 3)


def run_passes(
    model: Features | WithHeads | PictureUnits,
    batches: Batches,
    sites: Sequence[Site],
    units: Neighbourly,
    aside: Path,
    how: How,
    log: Log,
) -> Passes:
    """Survey the stimuli, go through them again, and find neighbours.

    Args:
        model: the subject.
        batches: what is shown.
        sites: the sites that are read.
        units: their units.
        aside: a folder for what the passes keep.
        how: how they are run.
        log: what happened is added to it.

    Returns:
        Passes: what was found. A resume computes with the threads that the first pass was begun with.
    """
    survey = survey_corpus(
        model,
        batches,
        [site.path for site in sites],
        aside / "survey",
        resume=how.resume,
        seed=how.seed,
        progress=_half_of(how.progress, 0),
        checkpoint_s=how.checkpoint_s,
        engine=how.engine,
    )
    log.note("survey done")
    with pin_threads(survey.bundle):
        begin: type[Look] = PictureLook if batches.kind == "images" else TextLook
        look = run_look(
            model,
            batches,
            sites,
            survey,
            aside / "look",
            begin,
            resume=how.resume,
            seed=how.seed,
            progress=_half_of(how.progress, batches.n_tokens),
            checkpoint_s=how.checkpoint_s,
            engine=how.engine,
        )
        log.note("second pass done")
        own = units.populations(look)
        method = choose_method(how.neighbours, sum(one.width for one in own))
        near = None
        if method != "none":
            near = find_neighbours(
                own,
                aside / "neighbours",
                manifest_of(model, sites, batches, seed=how.seed, look=look.hash),
                method=method,
                beside=units.before(),
                resume=how.resume,
                seed=how.seed,
                device=model.device,
                progress=how.neighbours_progress,
            )
            log.note(f"neighbours found ({method})")
    return Passes(survey, look, near)


def _half_of(progress: Progress | None, before: int) -> Progress | None:
    """Count both passes as one piece of work."""
    if progress is None:
        return None
    return lambda done, total: progress(before + done, 2 * total)
