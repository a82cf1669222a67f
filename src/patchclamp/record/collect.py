"""Over a corpus, over a plain network's own inputs, or what a recorded brain did."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchclamp.core.arguments import Natural, checked
from patchclamp.core.errors import PatchclampError
from patchclamp.core.recording import StoredRecording
from patchclamp.core.subject import Progress
from patchclamp.core.survey import StoredSurvey
from patchclamp.engines import Engine
from patchclamp.record.inputs import record_inputs, survey_inputs
from patchclamp.record.neural import survey_recording
from patchclamp.record.stream import record_corpus
from patchclamp.record.survey import survey_corpus
from patchclamp.subjects.corpora import Batches

OWN_INPUTS = "arrays"
"""Kind of stimulus of a subject that is shown its own inputs, no corpus."""


@checked
def record(
    subject: Any,
    shown: Any,
    sites: str | Sequence[str],
    out: str | Path,
    *,
    store: str | None = None,
    resume: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> StoredRecording:
    """Record what sites do, to append-only shards on disk; see ``record_corpus`` and ``record_inputs``.

    Args:
        subject: a language model, a model of images, or a plain network.
        shown: a Corpus, the path of a text or of images, or what ``read_corpus`` gave; to a plain network a Task or
            arrays, a row per input.
        sites: site paths or patterns.
        out: a new or empty folder.
        store: ``float32``, ``float16`` or ``bfloat16``; the subject's own type by default.
        resume: go on with an interrupted run.
        batch_size: stimuli per forward pass: 8 by default, of a plain network 32.
        progress: called with what is done and what there is in all.
        engine: where it is computed, from ``open_engine``; this process by default. It does not change the result.

    Returns:
        StoredRecording: the folder, opened.

    Raises:
        PatchclampError: unknown sites, nothing to show, no room, or a resume that does not fit.

    Cost: one forward pass per batch, stopped at the last site; disk rows × Σ widths × bytes.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "story.txt").write_text("the old cat sat on the mat. " * 3)
        >>> kept = record(load("organism:cat"), folder / "story.txt", "blocks.0.mlp.act", folder / "recording")
        >>> kept.load().values["blocks.0.mlp.act"].shape[1]
        16
    """
    how: dict[str, Any] = {"store": store, "resume": resume, "progress": progress, "engine": engine}
    how |= {} if batch_size is None else {"batch_size": batch_size}
    if _takes_inputs(subject, shown):
        return record_inputs(subject, shown, sites if isinstance(sites, str) else list(sites), out, **how)
    return record_corpus(subject, shown, sites, out, **how)


@checked
def survey(
    subject: Any,
    shown: Any = None,
    sites: str | Sequence[str] | None = None,
    out: str | Path | None = None,
    *,
    window: int | None = None,
    resume: bool = False,
    batch_size: int | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> StoredSurvey:
    """Survey every unit of some sites: statistics and exemplars, without storing activations.

    See ``survey_corpus``, ``survey_inputs`` and, of a recorded brain, ``survey_recording``.

    Args:
        subject: a language model, a model of images, a plain network, or a recorded brain.
        shown: as for ``record``; of a recorded brain nothing.
        sites: site paths or patterns; of a recorded brain none.
        out: a new or empty folder.
        window: of a recorded brain, samples per stretch (128).
        resume: go on with an interrupted run.
        batch_size: stimuli per forward pass: 8 by default, of a plain network 32.
        seed: of the sample behind quantiles.
        progress: called with what is done and what there is in all.
        engine: where it is computed, from ``open_engine``; this process by default. It does not change the result.

    Returns:
        StoredSurvey: the folder, opened.

    Raises:
        PatchclampError: no folder, unknown sites, nothing to show, no room, or a resume that does not fit.

    Cost: one forward pass per batch and some seven passes over its activations; memory about 5 kB per unit.

    Example:
        >>> import tempfile
        >>> from patchclamp.loaders import load
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "story.txt").write_text("the old cat sat on the mat. " * 3)
        >>> kept = survey(load("organism:cat"), folder / "story.txt", "blocks.0.mlp.act", folder / "survey")
        >>> kept.statistics("blocks.0.mlp.act")["mean"].shape
        (16,)
    """
    if out is None:
        raise PatchclampError(expected="a folder to keep the survey in", got="none", remedy="Give out=.")
    how: dict[str, Any] = {"resume": resume, "seed": seed}
    if shown is None and sites is None:
        how |= {} if window is None else {"window": window}
        return survey_recording(subject, out, **how)
    if shown is None or sites is None or window is not None:
        raise PatchclampError(
            expected="what is shown and the sites; a window only of a recorded brain",
            got=", ".join(
                [
                    *(["nothing shown"] if shown is None else []),
                    *(["no sites"] if sites is None else []),
                    *([] if window is None else [f"a window of {window}"]),
                ]
            ),
            remedy="Corpus(path, window=…) says how a text is cut.",
        )
    how |= {"progress": progress, "engine": engine, **({} if batch_size is None else {"batch_size": batch_size})}
    if _takes_inputs(subject, shown):
        return survey_inputs(subject, shown, sites if isinstance(sites, str) else list(sites), out, **how)
    return survey_corpus(subject, shown, sites, out, **how)


def _takes_inputs(subject: Any, shown: Any) -> bool:
    """Return whether a subject is shown inputs of its own; what was read already is shown as it is."""
    return getattr(subject, "stimulus_kind", "") == OWN_INPUTS and not isinstance(shown, Batches)
