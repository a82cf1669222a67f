"""Many machines: one worker beside two, and a simulated run of a large model on many GPUs.

    python benchmarks/scale.py                 # the simulation, at the rates below
    python benchmarks/scale.py --measure       # the ratio of two workers to one, on this machine

The simulation is of the scheduler in `patchclamp.engines`: pieces in the order of a plan, workers that each compute one
and hold the next, results that one process takes in order, workers that die and are replaced. Its rates are inputs;
what was measured and what a vendor states is said in docs/results/scale.md.
"""

import argparse
import heapq
import json
import random
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """Say what is run, on what, and at which rates.

    Args:
        workers: processes that each hold the model.
        pieces: of the plan.
        tokens: of a piece.
        tokens_per_s: of one worker, forward pass and what is kept of it.
        result_bytes: what a worker sends of a piece.
        driver_bytes_per_s: what the process in the middle takes in, merges and writes.
        load_s: seconds until a worker holds the model.
        hours_between_deaths: mean, of one worker.
        spread: standard deviation of a piece's time, as a share of it.
    """

    workers: int
    pieces: int
    tokens: float
    tokens_per_s: float
    result_bytes: float
    driver_bytes_per_s: float
    load_s: float = 300.0
    hours_between_deaths: float = 2000.0
    spread: float = 0.05


AHEAD = 2  # pieces of a worker, as in engines/ray_workers.py


def simulate(run: Run, seed: int = 0) -> dict[str, float]:
    """Return what a run takes, event by event."""
    draw = random.Random(seed)
    mean = run.tokens / run.tokens_per_s
    death_rate = 1 / (run.hours_between_deaths * 3600)
    events: list[tuple[float, int, int]] = []  # time, worker, piece; −1 once the worker holds the model
    for worker in range(run.workers):
        heapq.heappush(events, (run.load_s * draw.uniform(1.0, 1.2), worker, -1))
    coming, again, finished = 0, [], set()
    wanted, deaths, idle = 0, 0, 0.0
    driver_free, busy, most_held = 0.0, 0.0, 0
    waiting: list[int] = []
    merge_s = run.result_bytes / run.driver_bytes_per_s
    window = 2 * AHEAD * run.workers
    taken: list[float] = []  # when the driver is through with each piece
    while wanted < run.pieces:
        now, worker, piece = heapq.heappop(events)
        if piece >= 0:
            finished.add(piece)
            while wanted in finished:
                finished.discard(wanted)
                driver_free = max(driver_free, now) + merge_s
                busy += merge_s
                taken.append(driver_free)
                wanted += 1
            most_held = max(most_held, len(finished))
        waiting.append(worker)
        waiting, free = [], waiting
        for one in free:
            if again:
                piece = again.pop(0)
            elif coming < run.pieces:
                piece, coming = coming, coming + 1
            else:
                continue
            # A piece is handed out only once the driver is through with what lies a window before it.
            begin = max(now, taken[piece - window]) if piece >= window and piece - window < len(taken) else now
            if piece >= window and piece - window >= len(taken):
                coming -= 1
                heapq.heappush(events, (now + mean / 10, one, -1))
                idle += mean / 10
                continue
            idle += begin - now
            took = mean * max(draw.gauss(1.0, run.spread), 0.2)
            dies = draw.expovariate(death_rate)
            if dies < took:
                deaths += 1
                again.append(piece)
                heapq.heappush(events, (begin + dies + run.load_s, one, -1))
            else:
                heapq.heappush(events, (begin + took, one, piece))
    total = max(driver_free, 0.0)
    return {
        "hours": total / 3600,
        "hours_computing_alone": run.pieces * mean / run.workers / 3600,
        "driver_busy": busy / total,
        "workers_idle": idle / (total * run.workers),
        "deaths": deaths,
        "results_that_waited": most_held,
        "bytes_through_driver": run.pieces * run.result_bytes,
    }


# -- a model of 70 billion weights, 64 GPUs, 10⁹ tokens ----------------------------------------------------------------

PARAMETERS, LAYERS, WIDTH, HIDDEN, HEADS = 70.6e9, 80, 8192, 28672, 64  # the shape of Llama 3.1 70B
GPUS, GPUS_PER_WORKER, TOKENS, WINDOW = 64, 4, 1e9, 128
PEAK, UTILISATION = 989e12, 0.35  # dense bfloat16 FLOP/s of an H100 SXM by its data sheet; an assumption
MERGED, WRITTEN = 122e6, 102e6  # bytes per second that one process merges, and writes: measured, see the page
UNITS = LAYERS * (HIDDEN + HEADS)
FOLD = 250 + 122  # bytes per unit that a part of a survey holds
LOOK = 11_000  # bytes per unit that a part of a second pass holds


def cases() -> dict[str, Run]:
    """Return the runs that the page speaks of."""
    workers = GPUS // GPUS_PER_WORKER
    rate = PEAK * UTILISATION * GPUS_PER_WORKER / (2 * PARAMETERS)
    base = Run(workers, 1024, TOKENS / 1024, rate, 0.0, MERGED, load_s=141e9 / 1.0e9)
    shard, writing = 16 * 2**20, replace(base, driver_bytes_per_s=WRITTEN)
    ten = {"driver_bytes_per_s": 10 * MERGED}
    return {
        "survey of all neurons and heads": replace(base, result_bytes=UNITS * FOLD),
        "second pass of a bake, all neurons and heads": replace(base, result_bytes=UNITS * LOOK),
        "the same, merged ten times as fast": replace(base, result_bytes=UNITS * LOOK, **ten),
        "recording of one residual site, to a folder that workers see": replace(
            base, pieces=16_384, tokens=TOKENS / 16_384
        ),
        "recording of one residual site": replace(
            writing,
            pieces=int(TOKENS * WIDTH * 2 / (64 * shard)),  # 64 shards are one event here, which changes no sum
            tokens=TOKENS / int(TOKENS * WIDTH * 2 / (64 * shard)),
            result_bytes=64 * shard,
        ),
        "recording of all neurons": replace(
            writing, pieces=1024, tokens=TOKENS / 1024, result_bytes=TOKENS / 1024 * UNITS * 2
        ),
        "survey, each GPU fails every 20 hours": replace(
            base, result_bytes=UNITS * FOLD, hours_between_deaths=20 / GPUS_PER_WORKER
        ),
    }


# -- this machine ------------------------------------------------------------------------------------------------------


def measure(seconds: float) -> None:
    """Print how much faster two workers are than one, of a real model and of work that only waits."""
    import patchclamp as pc
    from patchclamp.engines import Piece, Start, open_engine
    from patchclamp.loaders import load
    from patchclamp.record import record_corpus, survey_corpus

    folder = Path(tempfile.mkdtemp())
    draw = random.Random(0)
    names = ["Mary", "Tom", "John", "Anna"]
    model = load("organism:language-gpt2")
    lines = [f"{draw.choice(names)} gave a book to {draw.choice(names)}." for _ in range(int(2000 * seconds))]
    (folder / "text.txt").write_text("\n".join(lines))
    corpus = pc.Corpus(folder / "text.txt", window=64)
    pieces = [Piece(Start(i), Start(i + 1), ()) for i in range(40)]
    took: dict[str, list[float]] = {}
    for workers in (1, 2):
        with open_engine("ray", workers=workers) as engine:
            engine.share(model, partial(load, "organism:language-gpt2"))
            list(engine.map(_nothing, pieces, lambda _: None))  # workers start, and load what they import
            survey_corpus(model, corpus, "blocks.0.mlp.act", folder / f"warm-{workers}", engine=engine)
            began = time.monotonic()
            list(engine.map(_wait, pieces, lambda _: None))
            took.setdefault("a wait of 0.1 s", []).append(time.monotonic() - began)
            for verb, sites in (
                (survey_corpus, "blocks.*.mlp.act"),
                (record_corpus, f"blocks.{model.n_layers - 1}.mlp.act"),
            ):
                began = time.monotonic()
                verb(model, corpus, sites, folder / f"{verb.__name__}-{workers}", engine=engine)
                took.setdefault(verb.__name__, []).append(time.monotonic() - began)
    load_average = Path("/proc/loadavg").read_text().split()[0]
    for name, (one, two) in took.items():
        print(f"{name:<18} {one:6.2f} s by one worker, {two:6.2f} s by two: {one / two:.2f} × (load {load_average})")


def measure_rates() -> None:
    """Print what one process takes in: parts of a survey that it merges, shards that it writes, results of workers."""
    import numpy as np
    import torch

    from patchclamp.core.bundle import Bundle
    from patchclamp.core.site import Site
    from patchclamp.engines import Piece, Start, open_engine
    from patchclamp.record.survey import State

    torch.set_num_threads(1)
    width = 40_000
    sites = [Site("x", "x", width)]
    whole = State(sites, 0, n_stimuli=10**6, n_counted=10**8)
    parts = []
    for number in range(6):
        part = whole.parts()(
            Start(64 * number, 8192 * number, 8192 * number), Start(64 * (number + 1), *[8192 * (number + 1)] * 2)
        )
        site = part.of["x"]
        for name in ("top", "minimum", "piece_mean"):
            getattr(site, name).normal_()
        site.top = site.top.sort(dim=1, descending=True).values
        part.start = Start(64 * (number + 1), *[8192 * (number + 1)] * 2)
        parts.append(part)
    held = sum(t.numel() * t.element_size() for t in parts[0].of["x"].__dict__.values())
    began = time.perf_counter()
    for part in parts:
        whole.merge(part)
    merged = held * len(parts) / (time.perf_counter() - began)
    print(f"merging parts of a survey: {merged / 1e6:,.0f} MB/s, {held / width:,.0f} bytes a unit")
    shard = {"x": np.random.default_rng(0).normal(size=2**21).astype(np.float64)}
    bundle = Bundle.create(Path(tempfile.mkdtemp()) / "b", kind="recording", manifest={"sites": []})
    began = time.perf_counter()
    for number in range(8):
        bundle.append(f"shard-{number:05d}", shard)
    print(f"writing shards, hashed and flushed: {8 * 2**24 / (time.perf_counter() - began) / 1e6:,.0f} MB/s")
    with open_engine("ray", workers=1) as engine:
        pieces = [Piece(Start(i), Start(i + 1), ()) for i in range(12)]
        list(engine.map(_nothing, pieces, lambda _: None))
        began = time.perf_counter()
        for result in engine.map(_give, pieces, lambda _: None):
            result.sum()
        print(f"results of a worker, through Ray: {12 * 2**26 / (time.perf_counter() - began) / 1e6:,.0f} MB/s")


def _give(_piece: object, _tick: object) -> object:
    import numpy as np

    return np.ones(2**23)


def _wait(_piece: object, _tick: object) -> int:
    time.sleep(0.1)
    return 0


def _nothing(_piece: object, _tick: object) -> int:
    return 0


def main() -> None:
    """Simulate, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a measurement, about")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.measure:
        measure_rates()
        measure(options.seconds)
        return
    for name, run in cases().items():
        found = simulate(run)
        if options.json:
            print(json.dumps({"name": name, **asdict(run), **found}))
            continue
        print(
            f"{name:<46} {found['hours']:8.1f} h (computing alone {found['hours_computing_alone']:.1f}), "
            f"{found['bytes_through_driver'] / 1e12:9.2f} TB through the driver, busy {found['driver_busy']:.0%}, "
            f"workers idle {found['workers_idle']:.0%}, {found['deaths']} deaths"
        )


if __name__ == "__main__":
    main()
