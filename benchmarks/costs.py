"""Costs: what every long verb states before it begins, beside what was measured, at three sizes.

Each run is a process of its own with a model of random weights: a Llama of 260 thousand, a Llama of 41 million, and the
shape of GPT-2 small. Passes are rows that enter the last block, forward and backward, counted by a hook; edge sets run
blocks in pieces, whose rows are counted at the last MLP. Memory is the growth of the highest resident memory over that
of the loaded model, after a small run of the same verb. Disk is what the folder takes at its largest. Time is a ratio
to one forward pass of a row, in processor seconds.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shape
import timing
import torch

from patchclamp.core.corpus import Corpus
from patchclamp.core.method import Sizes
from patchclamp.core.stimulus import Stimulus
from patchclamp.core.task import Case, Task
from patchclamp.subjects.corpora import read_corpus
from patchclamp.subjects.language import LanguageModel

NEAR = 0.2
"""Largest share by which memory and disk may differ from what was stated."""
LLAMAS = (
    {"num_hidden_layers": 5, "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 4,
     "intermediate_size": 172, "vocab_size": 512},
    {"num_hidden_layers": 8, "hidden_size": 512, "num_attention_heads": 8, "num_key_value_heads": 4,
     "intermediate_size": 1408, "vocab_size": 16_384},
)  # fmt: skip
SIZES = ("Llama, 260 thousand", "Llama, 41 million", "GPT-2 small, 124 million")


@dataclass(frozen=True)
class Stated:
    """What a verb says that it takes.

    Args:
        forward: rows of forward passes.
        backward: rows of backward passes.
        memory: bytes besides the model's.
        disk: bytes.
        most: whether passes are at most so many.
        time: in forward passes of one row; 0 where none is stated.
    """

    forward: int = 0
    backward: int = 0
    memory: int = 0
    disk: int = 0
    most: bool = False
    time: float = 0


@dataclass(frozen=True)
class Job:
    """One run of a verb: what it states, and the run, in a folder of its own.

    Args:
        state: returns what is stated.
        run: does it.
        small: does it at a small size, with the same code.
        models: that it runs besides the first.
        n_tokens: of the row whose forward pass times are told in.
        in_pieces: whether blocks are run in pieces.
    """

    state: Callable[[], Stated]
    run: Callable[[Path], object]
    small: Callable[[Path], object]
    models: tuple[LanguageModel, ...] = ()
    n_tokens: int = 16
    in_pieces: bool = False


def main() -> None:
    parser = timing.parser(__doc__, rounds=1)
    parser.add_argument("--only", nargs="+", choices=sorted(VERBS), help="some verbs")
    parser.add_argument("--sizes", nargs="+", type=int, choices=range(len(SIZES)), help="some sizes")
    parser.add_argument("--once", nargs=2, metavar=("VERB", "SIZE"), help="one run, in this process")
    options = parser.parse_args()
    if options.once:
        print(json.dumps(once(options.once[0], int(options.once[1]), options.threads)))
        return
    rows, bars, measures = [], [], {}
    for verb in options.only or VERBS:
        for size in (0,) if options.quick else (options.sizes or range(len(SIZES))):
            found = apart(verb, size, options.threads)
            measures[f"{verb} {size}"] = found
            stated, took = Stated(**found["stated"]), Stated(**found["measured"])
            bars += hold(verb, size, stated, took)
            rows.append([verb, size, *(_pair(getattr(stated, n), getattr(took, n), n, stated.most) for n in COLUMNS)])
            rows[-1] += [
                f"{found['seconds']:.2f}",
                f"{stated.time:,.0f}, {found['ratio']:,.0f}" if stated.time else f"{found['ratio']:,.0f}",
            ]
            print(*rows[-1], sep=" · ", file=sys.stderr, flush=True)
    measures["record"] = growth(options.threads, [512, 1024] if options.quick else [8192, 16384, 32768, 65536])
    timing.show(["verb", "size", "forward", "backward", "memory MB", "disk MB", "s", "time / one forward"], rows)
    timing.report(options, measures, bars)


def growth(threads: int, lengths: Sequence[int]) -> dict[str, Any]:
    """Time recording as the text grows, the shortest time of three, and print the exponent."""
    from patchclamp.record import record_corpus

    torch.set_num_threads(threads)
    model, seconds = subject(0), {}
    with tempfile.TemporaryDirectory() as name:
        for n in lengths:
            corpus = Corpus(text(Path(name), n, str(n)), window=128)
            runs = [Path(name) / f"{n}-{k}" for k in range(3)]
            tasks = [partial(record_corpus, model, corpus, "blocks.*.mlp.act", out) for out in runs]
            spent = [timing.spend(task) for task in tasks]
            seconds[n] = min(one.cpu_s for one in spent)
    exponent = float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])
    shown = ", ".join(f"{n:,}: {s:.2f}" for n, s in seconds.items())
    print(f"record, processor seconds by tokens {shown}; exponent {exponent:.2f}")
    return {"cpu_s": seconds, "exponent in tokens": exponent}


COLUMNS = ("forward", "backward", "memory", "disk")


def _pair(stated: int, took: int, kind: str, most: bool) -> str:
    """Return stated and measured, side by side."""
    if not stated and not took:
        return ""
    if kind in ("memory", "disk"):
        return f"{stated / 1e6:.1f}, {took / 1e6:.1f}"
    return f"{'≤ ' if most else ''}{stated:,}, {took:,}"


def hold(verb: str, size: int, stated: Stated, took: Stated) -> list[timing.Bar]:
    """Return how far each measure is from what was stated."""
    bars = []
    for name in COLUMNS:
        said, done = getattr(stated, name), getattr(took, name)
        if not said:
            continue
        if name in ("forward", "backward"):
            apart_by = max(0, done - said) if stated.most else abs(done - said)
            bars.append(timing.Bar(f"{verb} {size}: {name} rows apart", apart_by, "<=", 0))
        elif said:
            bars.append(timing.Bar(f"{verb} {size}: {name} / stated − 1", abs(done / said - 1), "<=", NEAR))
    return bars


def apart(verb: str, size: int, threads: int) -> dict[str, Any]:
    """Run once in a fresh process."""
    # What the allocator keeps of freed memory depends on the system; here it gives back whatever is large.
    given = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17), "MALLOC_TRIM_THRESHOLD_": str(2**17)}
    command = [sys.executable, __file__, "--once", verb, str(size), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env=given)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def once(verb: str, size: int, threads: int) -> dict[str, Any]:
    """Run a verb once; return what it stated and what it took."""
    torch.set_num_threads(threads)
    # What libraries keep for their products is taken once, whatever follows.
    for values in (np.ones((1024, 1024), np.float32), np.ones((1024, 1024))):
        _ = values @ values, torch.from_numpy(values) @ torch.from_numpy(values)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = subject(size)
        job = VERBS[verb](model, size, folder)
        job.small(folder / "small")
        stated = job.state()
        with (
            Counted(model, *job.models, in_pieces=job.in_pieces) as rows,
            Peak() as memory,
            Disk(folder / "out") as disk,
        ):
            spent = timing.spend(lambda: job.run(folder / "out"))
        took = Stated(rows.forward, rows.backward, memory.grown, disk.most)
    one = Stimulus.of(shape.ids(1, job.n_tokens)[0].numpy() % WORDS)
    model.run(one)
    bare = min(timing.spend(lambda: model.run(one)).cpu_s for _ in range(5))
    return {
        "stated": asdict(stated), "measured": asdict(took), "seconds": spent.wall_s, "cpu_s": spent.cpu_s,
        "ratio": spent.cpu_s / bare,
    }  # fmt: skip


# -- measuring --------------------------------------------------------------------------------------------------------


class Counted:
    """Count the rows that enter a model's last block, or where it runs in pieces its MLP, forward and backward."""

    def __init__(self, *models: LanguageModel, in_pieces: bool = False) -> None:
        self.models, self.in_pieces, self.forward, self.backward = models, in_pieces, 0, 0

    def __enter__(self) -> "Counted":
        self.hooks = []
        for one in self.models:
            family = one.covering_family()
            last = one.module.get_submodule(family.blocks)[-1]
            counted = last if not self.in_pieces else last.get_submodule(family.block["mlp.act"].module)
            # Before it: a pass may end within the block.
            self.hooks += [counted.register_forward_pre_hook(self._count), last.register_forward_hook(self._watch)]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _count(self, _module: Any, args: Any) -> None:
        self.forward += len(args[0])

    def _watch(self, _module: Any, _args: Any, out: Any) -> None:
        stream = out[0] if isinstance(out, tuple) else out
        if stream.requires_grad:
            stream.register_hook(self._count_backward)

    def _count_backward(self, slope: torch.Tensor) -> None:
        self.backward += len(slope)


class Peak:
    """Measure by how much the highest resident memory exceeds that at the beginning (Linux)."""

    def __enter__(self) -> "Peak":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self.before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.grown = max(0, _status("VmHWM") - self.before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


class Disk:
    """Measure what a folder takes at its largest, looking a hundred times a second."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self.done = folder, 0, threading.Event()

    def __enter__(self) -> "Disk":
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self._look()

    def _watch(self) -> None:
        while not self.done.wait(0.01):
            self._look()

    def _look(self) -> None:
        found = 0
        for path in self.folder.rglob("*") if self.folder.exists() else ():
            try:
                found += path.stat().st_size if path.is_file() else 0
            except OSError:  # it was moved meanwhile
                continue
        self.most = max(self.most, found)


# -- verbs ------------------------------------------------------------------------------------------------------------


def subject(size: int, seed: int = 0) -> LanguageModel:
    """Return a model of random weights."""
    if size == len(LLAMAS):
        return LanguageModel(shape.gpt2(seed), shape.words(), name="costs")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    kind = LLAMAS[size]
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), kind["vocab_size"] - 1)
    config = LlamaConfig(**kind, **ends, max_position_embeddings=512)
    return LanguageModel(LlamaForCausalLM(config).eval(), shape.words(kind["vocab_size"]), name="costs")


WORDS = 500
"""Different words of texts and prompts; every model has them."""


def text(folder: Path, n_tokens: int, name: str = "text") -> Path:
    """Write words that the vocabulary has."""
    ids = np.random.default_rng(0).integers(1, WORDS, n_tokens)
    path = folder / f"{name}.txt"
    path.write_text("\n".join(" ".join(f"w{i}" for i in ids[k : k + 16]) for k in range(0, n_tokens, 16)) + "\n")
    return path


def pairs(n: int, length: int) -> Task:
    """Return pairs of prompts of random words, with answers."""
    draw = np.random.default_rng(1)

    def words() -> str:
        return " ".join(f"w{i}" for i in draw.integers(1, WORDS, length))

    return Task(
        tuple(Case(words(), targets=(f" w{11 + i}",), contrasts=(" w7",), counterpart=words()) for i in range(n))
    )


def corpora(folder: Path, *lengths: int) -> list[Corpus]:
    """Return texts of so many tokens, cut into windows of 128."""
    return [Corpus(text(folder, n, str(n)), window=128) for n in lengths]


def record(model: LanguageModel, size: int, folder: Path) -> Job:
    """Record two sites of every block."""
    from patchclamp.record import record_corpus
    from patchclamp.record.stream import disk_bytes, memory_bytes
    from patchclamp.subjects.recordable import select_recordable

    sites = ["blocks.*.mlp.act", "blocks.*.resid_out"]
    corpus, few = corpora(folder, (32_768, 8192, 4096)[size], 1024)

    def state() -> Stated:
        batches, chosen = read_corpus(model, corpus, batch_size=8), select_recordable(model, sites)
        return Stated(
            forward=batches.n_stimuli,
            memory=memory_bytes(model, chosen, batches, "float32"),
            disk=disk_bytes(chosen, batches, "float32"),
        )

    return Job(
        state,
        lambda out: record_corpus(model, corpus, sites, out),
        lambda out: record_corpus(model, few, sites[1:], out),
        n_tokens=128,
    )


def survey(model: LanguageModel, size: int, folder: Path) -> Job:
    """Survey the neurons of every block."""
    from patchclamp.record import survey_corpus
    from patchclamp.record.survey import disk_bytes, peak_bytes
    from patchclamp.subjects.recordable import select_recordable

    sites = ["blocks.*.mlp.act"]
    corpus, few = corpora(folder, (32_768, 8192, 4096)[size], 1024)

    def state() -> Stated:
        batches, chosen = read_corpus(model, corpus, batch_size=8), select_recordable(model, sites)
        return Stated(forward=batches.n_stimuli, memory=peak_bytes(model, chosen, batches), disk=disk_bytes(chosen))

    return Job(
        state,
        lambda out: survey_corpus(model, corpus, sites, out, checkpoint_s=0.0),
        lambda out: survey_corpus(model, few, ["blocks.0.attn.write"], out),
        n_tokens=128,
    )


class Enough(Exception):
    """What a verb takes is known; it need not go on."""


def heard(run: Callable[..., object]) -> Any:
    """Return what a verb states, and stop it there."""
    needs: list[Any] = []

    def stop(need: Any) -> None:
        needs.append(need)
        raise Enough

    with contextlib.suppress(Enough):
        run(state=stop)
    return needs[0]


def decompose(method: str, site: str, **options: Any) -> Callable[[LanguageModel, int, Path], Job]:
    """Return a decomposition of a site of the last block."""

    def make(model: LanguageModel, size: int, folder: Path) -> Job:
        from patchclamp.decompose import decompose as run

        corpus, few = corpora(folder, (16_384, 8192, 4096)[size], 2560)
        at = f"blocks.{model.n_layers - 1}.{site}"
        less = {**options, "n_features": 16, "expansion": None}

        def state() -> Stated:
            need = heard(partial(run, model, corpus, site=at, method=method, **options))
            return Stated(need.forward, 0, need.memory, need.disk)

        return Job(
            state,
            lambda out: run(model, corpus, site=at, method=method, out=out, **options),
            lambda out: run(model, few, site="blocks.0.attn.write", method=method, out=out, **less),
            n_tokens=128,
        )

    return make


def attribute(method: str, level: str) -> Callable[[LanguageModel, int, Path], Job]:
    """Return scores over pairs."""

    def make(model: LanguageModel, size: int, _folder: Path) -> Job:
        from patchclamp.attribute.pairs import attribute_pairs, cost_of

        task, few = model.read(pairs((64, 16, 8)[size], 16)), model.read(pairs(2, 4))

        def state() -> Stated:
            cost = cost_of(model, task, level=level, method=method)
            return Stated(cost.forward, cost.backward, cost.bytes)

        return Job(
            state,
            lambda _out: attribute_pairs(model, task, level=level, method=method),
            lambda _out: attribute_pairs(model, few, level=level, method=method),
        )

    return make


def patch(model: LanguageModel, size: int, _folder: Path) -> Job:
    """Patch heads and residual streams of pairs at every position."""
    from patchclamp.attribute.patch import patch as run
    from patchclamp.attribute.patching import plan_patching
    from patchclamp.report import draw

    task, few = model.read(pairs((16, 4, 2)[size], 8)), model.read(pairs(2, 4))
    sites = ["resid", "head"]

    def state() -> Stated:
        job = plan_patching(model, task, sites)
        return Stated(forward=job.forward, memory=job.n_bytes + job.held_bytes, disk=job.disk_bytes, most=True)

    return Job(
        state,
        lambda out: run(model, task, sites, out=out, page=draw),
        lambda out: run(model, few, sites, out=out, page=draw),
        n_tokens=8,
    )


def circuit_find(level: str) -> Callable[[LanguageModel, int, Path], Job]:
    """Return a search of a circuit."""

    def make(model: LanguageModel, size: int, _folder: Path) -> Job:
        from patchclamp.recipes.circuit import find_circuit, receipt_rows, search_cost

        number = (4, 2, 2) if level == "edge" else (32, 8, 4)
        task, few = model.read(pairs(number[size], 12)), model.read(pairs(2, 4))

        def state() -> Stated:
            cost = search_cost(model, task, level)
            return Stated(
                cost.forward + receipt_rows(model, task, level, None, 99), cost.backward, cost.bytes, most=True
            )

        return Job(
            state,
            lambda out: find_circuit(model, task, level=level, out=out),
            lambda out: find_circuit(model, few, level=level, out=out, n_controls=20),
            n_tokens=12,
            in_pieces=level == "edge",
        )

    return make


def explain(method: str) -> Callable[[LanguageModel, int, Path], Job]:
    """Return an explanation of one answer."""

    def make(model: LanguageModel, size: int, _folder: Path) -> Job:
        from patchclamp.recipes import explain as run
        from patchclamp.recipes.explanation_cost import cost_of_explanation

        n = (64, 32, 16)[size]
        prompt = " ".join(f"w{i}" for i in range(1, 1 + n))

        def state() -> Stated:
            cost = cost_of_explanation(model, n, method=method)
            return Stated(memory=cost.bytes, time=cost.forwards)

        return Job(
            state,
            lambda _out: run(model, prompt, " w11", contrast=" w7", method=method, edges=0),
            lambda _out: run(model, "w1 w2 w3 w4", " w11", contrast=" w7", method=method, edges=0),
            n_tokens=n,
        )

    return make


def compare(model: LanguageModel, size: int, folder: Path) -> Job:
    """Compare two checkpoints over a text."""
    from patchclamp.compare.models import N_RANDOM, compare_models, memory_bytes

    other = subject(size, 1)
    corpus, few = corpora(folder, (8192, 2048, 1024)[size], 512)

    def state() -> Stated:
        batches = read_corpus(model, corpus, batch_size=8)
        return Stated(forward=batches.n_stimuli * (2 + N_RANDOM), memory=memory_bytes(model, other, batches))

    return Job(
        state,
        lambda _out: compare_models(model, other, corpus),
        lambda _out: compare_models(model, other, few),
        (other,),
        n_tokens=128,
    )


def vocabulary(model: LanguageModel, size: int, _folder: Path) -> Job:
    """Describe every neuron by its weights."""
    from patchclamp.describe import describe as run
    from patchclamp.describe.methods.vocabulary import METHOD

    less = subject(0) if size else model

    def state() -> Stated:
        most = max(site.width for site in model.sites() if site.kind == "mlp.act")
        return Stated(memory=METHOD.cost(Sizes(units=most, targets=model.n_answers), METHOD.make_options({})).bytes)

    return Job(state, lambda _out: run(model, method="vocabulary"), lambda _out: run(less, method="vocabulary"))


VERBS: dict[str, Callable[[LanguageModel, int, Path], Job]] = {
    "record": record,
    "survey": survey,
    "decompose topk": decompose("topk", "resid_out", expansion=8.0, k=8),
    "decompose snmf": decompose("snmf", "mlp.act", n_features=64, max_iter=20),
    "decompose pca": decompose("pca", "mlp.act", n_features=64),
    "attribute atp neuron": attribute("attribution_patching", "neuron"),
    "attribute ig node": attribute("integrated_gradients", "node"),
    "patch": patch,
    "circuit find node": circuit_find("node"),
    "circuit find neuron": circuit_find("neuron"),
    "circuit find edge": circuit_find("edge"),
    "explain atp": explain("attribution_patching"),
    "explain ig": explain("integrated_gradients"),
    "compare": compare,
    "vocabulary": vocabulary,
}

if __name__ == "__main__":
    main()
