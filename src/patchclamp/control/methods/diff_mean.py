"""The direction from one label's mean activation to another's (difference of means)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from patchclamp.core.basis import Basis
from patchclamp.core.errors import PatchclampError
from patchclamp.core.method import Cost, Method, Paper, Sizes
from patchclamp.core.options import option
from patchclamp.core.provenance import Provenance
from patchclamp.core.recording import as_numpy
from patchclamp.core.subject import Progress
from patchclamp.core.task import Task
from patchclamp.subjects.protocols import Records

BATCH = 32


@dataclass(frozen=True)
class DiffMeanOptions:
    """Options of the difference of means."""

    wanted: str = option("", "the label to move towards; empty: the task's first")
    sites: str = option("", "path or pattern of the one site where it is read and added; empty: after the middle block")


def diff_mean(subject: Records, task: Task, options: DiffMeanOptions, *, seed: int = 0, progress: Progress) -> Basis:
    r"""Return the direction from one label's mean activity to another's.

    d = (μ₊ − μ₋) / ‖μ₊ − μ₋‖, μ the mean over all tokens that count of all texts with a label. ``extra`` of its
    provenance holds the distance ‖μ₊ − μ₋‖, by which strengths are chosen.

    The site matters: after the last block a direction adds to the logits of its tokens and moves surface words only,
    after a middle one later blocks read it too. Measure several with ``measure_steering`` on prompts of their own.

    Args:
        subject: what is shown the texts.
        task: labelled examples of two labels, or of one label and none.
        options: label and site.
        seed: of nothing; there is nothing random.
        progress: called with texts done and in all.

    Returns:
        Basis: one direction of length 1 at its site.

    Raises:
        PatchclampError: another number of labels, an unknown label, no site or several, or means that are equal.

    Source: the mean steering vector of the first; of the second the difference of means. Also the supervised baseline
    of arXiv 2506.10920.

    Cost: a forward pass per text, stopped at the site.

    Example:
        >>> from patchclamp.control import steer
        >>> from patchclamp.loaders import load
        >>> task = Task.of_labels({"cat": ["the old cat", "the cat"], "dog": ["the old dog", "the dog"]})
        >>> steer(load("organism:cat"), task, wanted="cat", sites="blocks.0.resid_out").n_units
        1
    """
    labels = list(dict.fromkeys(case.label for case in task.cases))
    wanted = options.wanted or labels[0]
    if len(labels) != 2 or wanted not in labels or not wanted:
        raise PatchclampError(
            expected="examples of two labels, one of them wanted",
            got=f"{', '.join(map(repr, labels))}; wanted {wanted!r}",
            remedy="Task.of_labels({'french': […], 'english': […]}) makes such a task.",
        )
    site = _only_site(subject, options.sites)
    sums: dict[str, np.ndarray | float] = dict.fromkeys(labels, 0.0)
    counts = dict.fromkeys(labels, 0)
    done = 0
    for label in labels:
        shown = [case.shown for case in task.cases if case.label == label]
        for start in range(0, len(shown), BATCH):
            part = shown[start : start + BATCH]
            recording = subject.run(part, record=[site], logits=False).recording
            rows = _count_rows(recording, site)
            sums[label], counts[label] = sums[label] + rows.sum(0), counts[label] + len(rows)
            progress(done := done + len(part), len(task))
    means = {label: sums[label] / max(counts[label], 1) for label in labels}
    [other] = [label for label in labels if label != wanted]
    difference = np.asarray(means[wanted] - means[other])
    distance = float(np.linalg.norm(difference))
    if not distance > 0:
        raise PatchclampError(
            expected=f"labels whose mean activity at {site} differs",
            got="two equal means",
            remedy="Choose another site or other examples.",
        )
    direction = (difference / distance).astype(np.float32)[None]
    extra = {"distance": distance, "wanted": wanted, "other": other, "tokens": counts}
    return Basis("diff-mean", "directions", decoder=direction, site=site, provenance=Provenance(extra=extra))


def _only_site(subject: Records, pattern: str) -> str:
    """Return the path of the one site that a pattern names; of the stream after the middle block without a pattern."""
    if pattern:
        paths = [site.path for site in subject.select(pattern)]
        if len(paths) != 1:
            raise PatchclampError(
                expected="one site", got=f"{len(paths)}: {', '.join(paths[:3])}, …", remedy="Find one direction a site."
            )
        return paths[0]
    stream = [site.path for site in subject.sites() if site.kind == "resid_out"]
    if not stream:
        raise PatchclampError(
            expected="a site", got="none named, and no stream of blocks", remedy="Name one: sites='module.….out'."
        )
    return stream[len(stream) // 2]


def _count_rows(recording: object, site: str) -> Float[np.ndarray, "row width"]:
    """Return the rows of a site that statistics count, in double precision."""
    values = np.asarray(as_numpy(recording[site]), dtype=np.float64)  # type: ignore[index]
    counted = getattr(recording, "counted", None)
    if values.ndim == 2 and counted is not None and len(counted) == len(values):
        values = values[counted]
    return values.reshape(-1, values.shape[-1])


def _cost(sizes: Sizes, _options: DiffMeanOptions) -> Cost:
    return Cost(forward=sizes.cases)


METHOD = Method(
    diff_mean,
    name="diff_mean",
    room="control",
    title="difference of means (DiffMean)",
    question="Which direction moves generated text towards a label?",
    papers=(Paper("2506.18887", equation="as its mean steering vector"), Paper("2310.06824")),
    cost=_cost,
    oracle="oracles.diff_mean:diff_mean",
    calibrated_on=("language-gpt2", "language-llama"),
    must_show="after the last block, on openings that fit two programming languages, the rate of the wanted one rises "
    "with strength while perplexity stays bounded, and random directions of the same norm leave it where it was",
    must_miss={
        "language-gpt2:julia-python": "after its middle block no better than random directions",
        "language-*:french-english": "after names the rate rises only where the text breaks down",
    },
    options_at={"language-*": {"sites": "blocks.3.resid_out"}, "language-gpt2:julia-python": {"sites": ""}},
    default_for=("steer",),
)
