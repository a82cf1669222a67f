"""Capture: what recording and surveying cost beside the bare forward pass.

Bare is the base model alone, without the unembedding that neither needs. Recording keeps the residual stream and both
writes of all 12 blocks, as float16, on disk: hashed, flushed and resumable. A survey keeps statistics and exemplars of
all 36,864 MLP neurons; its first stimuli fill the lists of exemplars and its end sorts a sample, so what a further
token costs, once a survey is under way, is less than the whole divided by its tokens and is shown beside it.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import shape
import timing
import torch

from patchclamp.record import record_corpus, survey_corpus
from patchclamp.subjects.corpora import Batches, read_corpus

WINDOW, BATCH = 128, 8
ACTS = "blocks.*.mlp.act"


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--batches", type=int, default=6, help="batches of 8 x 128 tokens, at least 2")
    options = parser.parse_args()
    rounds, n_batches = (1, 2) if options.quick else (options.rounds, max(options.batches, 2))
    torch.set_num_threads(options.threads)
    n_tokens = n_batches * BATCH * WINDOW
    with tempfile.TemporaryDirectory() as folder:
        spent = measure(shape.subject(), Path(folder), n_batches, rounds)
    bare, recorded, surveyed = spent["bare forward"], spent["record, 36 sites"], spent["survey, 12 sites"]
    planned = [plus(a, b) for a, b in zip(recorded, spent["planning"], strict=True)]
    rows = [
        row("bare forward", n_tokens, bare, bare),
        row("record, 36 sites", n_tokens, recorded, bare),
        row("record, with planning", n_tokens, planned, bare),
        row("survey, 12 sites", n_tokens, surveyed, bare),
    ]
    print(f"{n_tokens} tokens, {rounds} rounds")
    timing.show(["", "tokens/s", "tokens/cpu-s", "speed/bare wall", "cpu", "time/bare wall", "cpu"], rows)
    share = n_batches / (n_batches - 1)
    further = timing.ratio(
        [
            timing.Spent((whole.wall_s - first.wall_s) * share, (whole.cpu_s - first.cpu_s) * share)
            for whole, first in zip(surveyed, spent["survey, first batch"], strict=True)
        ],
        bare,
    )
    print(f"survey, batches after the first: {further.wall_s:.2f} x bare (wall), {further.cpu_s:.2f} x (cpu)")
    speed, time = timing.ratio(bare, recorded), timing.ratio(surveyed, bare)
    bars = [
        timing.Bar("record: speed / bare forward, wall", speed.wall_s, ">=", 0.85),
        timing.Bar("record: speed / bare forward, cpu", speed.cpu_s, ">=", 0.85),
        timing.Bar("survey: time / bare forward, wall", time.wall_s, "<=", 1.35),
        timing.Bar("survey: time / bare forward, cpu", time.cpu_s, "<=", 1.35),
    ]
    timing.report(options, {"tokens": n_tokens, **spent, "survey after the first batch / bare": further}, bars)


def measure(model: shape.LanguageModel, folder: Path, n_batches: int, rounds: int) -> dict[str, list[timing.Spent]]:
    text = shape.write_text(folder / "text.txt", n_batches * BATCH * WINDOW)
    start = shape.write_text(folder / "start.txt", BATCH * WINDOW)
    plan, start_plan = read_corpus(model, text), read_corpus(model, start)
    assert (plan.n_tokens, plan.corpus.window, plan.batch_size) == (n_batches * BATCH * WINDOW, WINDOW, BATCH)
    shown = [shape.ids(BATCH, WINDOW, seed=i) for i in range(n_batches)]
    out = folder / "out"

    def bare() -> None:
        with torch.no_grad():
            for ids in shown:
                model.module.transformer(input_ids=ids, use_cache=False)

    def record() -> None:
        record_corpus(model, plan, shape.SITES, out, store="float16")

    def survey(made: Batches) -> Callable[[], object]:
        return lambda: survey_corpus(model, made, ACTS, out)

    def cleared(task: Callable[[], object]) -> Callable[[], timing.Spent]:
        """Time a task, not the removal of what it wrote."""

        def run() -> timing.Spent:
            spent = timing.spend(task)
            shutil.rmtree(out)
            return spent

        return run

    tasks = {
        "bare forward": bare,
        "record, 36 sites": cleared(record),
        "planning": lambda: read_corpus(model, text),
        "survey, 12 sites": cleared(survey(plan)),
        "survey, first batch": cleared(survey(start_plan)),
    }
    # The first use of everything, the model's hash included, is not what is measured.
    cleared(record)(), tasks["survey, first batch"]()
    return timing.alternate(tasks, rounds)


def plus(a: timing.Spent, b: timing.Spent) -> timing.Spent:
    return timing.Spent(a.wall_s + b.wall_s, a.cpu_s + b.cpu_s)


def row(name: str, n_tokens: int, spent: list[timing.Spent], bare: list[timing.Spent]) -> list[str]:
    middle, time = timing.median(spent), timing.ratio(spent, bare)
    speeds = f"{n_tokens / middle.wall_s:.0f}", f"{n_tokens / middle.cpu_s:.0f}"
    return [name, *speeds, *(f"{r:.2f}" for r in (1 / time.wall_s, 1 / time.cpu_s, time.wall_s, time.cpu_s))]


if __name__ == "__main__":
    main()
