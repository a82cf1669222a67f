"""Explain by size: what scores and receipts cost beside a bare loop over the same rows, and how they grow.

Bare loops are plain PyTorch with hooks written by hand, on the model in the shape of GPT-2 small: frozen weights, the
last position unembedded, blocks before the changed one skipped. Attribution patching is held against two forwards and
one backward; integrated gradients against the rows of its path, ten points at each of 24 sites; receipts against one
row for each set that they replace. Then: the whole of ``explain`` in tokens and in width, and costs stated beforehand
beside what was measured.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import shape
import timing
import torch
from torch import Tensor

import patchclamp.recipes.receipts as receipts_module
from patchclamp.ablate import Baseline, measure_sets
from patchclamp.ablate.units import First
from patchclamp.attribute import attribute_nodes
from patchclamp.core.metric import Metric
from patchclamp.core.stimulus import Stimulus
from patchclamp.recipes import explain
from patchclamp.recipes.explanation_cost import cost_of_explanation
from patchclamp.subjects.language import LanguageModel

TARGET, CONTRAST, STEPS, ROWS = 11, 12, 10, 64
METRIC = Metric("logit_difference", (TARGET,), (CONTRAST,))
KINDS = ("attn.z", "mlp.act")
GROWN = {"n_layer": 4, "n_embd": 256, "n_head": 4}
"""Shape of the model whose explanations are timed as prompts grow."""


def main() -> None:
    parser = timing.parser(__doc__, rounds=2)
    parser.add_argument("--tokens", type=int, nargs="+", default=[17, 200], help="lengths of the prompts")
    parser.add_argument("--small", action="store_true", help="a third of the size: 6 blocks, width 384, 1,000 tokens")
    parser.add_argument("--only", choices=["ratios", "growth", "costs"], help="one part")
    parser.add_argument("--child", type=int, metavar="N", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(stated_and_measured(options.child)))
        return
    measures: dict[str, Any] = {}
    bars: list[timing.Bar] = []
    lengths = [9] if options.quick else options.tokens
    if options.only in (None, "ratios"):
        model = small(n_layer=2, n_embd=64, n_head=4) if options.quick else shape.subject()
        model = small(n_layer=6, n_embd=384, n_head=6) if options.small else model
        for n in lengths:
            found, own = ratios(model, n, 1 if options.quick else options.rounds)
            measures |= {f"{n} tokens": found}
            bars += own
    if options.only in (None, "growth"):
        measures["growth"] = growth([8, 16] if options.quick else [16, 64, 200, 400], quick=options.quick)
    if options.only in (None, "costs"):
        measures["costs"] = costs([8, 16, 24] if options.quick else [64, 128, 256], threads=options.threads)
    timing.report(options, measures, bars)


# -- ratios -----------------------------------------------------------------------------------------------------------


def ratios(model: LanguageModel, n: int, rounds: int) -> tuple[dict[str, Any], list[timing.Bar]]:
    """Time scores and receipts of one prompt beside their bare loops."""
    ids, other = shape.ids(2, n).split(1)
    ids, other = ids % model.n_answers, other % model.n_answers
    sets = ReceiptSets(model, ids)
    latest: dict[str, np.ndarray] = {}
    own: dict[str, Callable[[], np.ndarray]] = {
        "bare, two forwards and one backward": lambda: bare_scores(model, ids, other),
        "attribution patching": lambda: (
            attribute_nodes(
                model, stimulus(ids), METRIC, corrupted=stimulus(other), method="attribution_patching"
            ).values
        ),
        "bare, rows of receipts": sets.bare,
        "receipts": sets.measure,
        "bare, rows of integrated gradients": lambda: bare_path(model, ids),
        "integrated gradients": lambda: (
            attribute_nodes(model, stimulus(ids), METRIC, method="integrated_gradients").values
        ),
    }
    tasks = {name: lambda name=name: latest.update({name: own[name]()}) for name in own}
    timing.alternate({name: tasks[name] for name in list(tasks)[:2]}, 1)
    spent = timing.alternate(tasks, rounds)
    for bare, ours in zip(list(own)[::2], list(own)[1::2], strict=True):
        check(ours, latest[ours], latest[bare])
    names = list(tasks)
    print(f"\n{n} tokens, {len(latest['integrated gradients']):,} units, {len(sets.rows)} sets")
    rows = [[name, f"{timing.median(s).wall_s:.2f}", f"{timing.median(s).cpu_s:.2f}"] for name, s in spent.items()]
    timing.show(["", "wall s", "cpu s"], rows)
    bars = []
    for base, ours_at, most in ((0, 1, 1.5), (4, 5, 1.2), (2, 3, 1.3)):
        ratio = timing.ratio(spent[names[ours_at]], spent[names[base]])
        bars.append(timing.Bar(f"{n} tokens, {names[ours_at]}: time / bare, wall", ratio.wall_s, "<=", most))
        bars.append(timing.Bar(f"{n} tokens, {names[ours_at]}: time / bare, cpu", ratio.cpu_s, "<=", most))
    return dict(spent), bars


def check(what: str, ours: np.ndarray, expected: np.ndarray) -> None:
    """Print how far apart two computations of the same are."""
    print(f"{what}: largest difference {np.abs(ours - expected).max():.1e} of {np.abs(expected).max():.1e}")


def stimulus(ids: Tensor) -> Stimulus:
    """Return one row of ids as a prompt."""
    return Stimulus.of(ids[0].numpy())


def modules(model: LanguageModel) -> dict[str, Any]:
    """Return the module whose input every site is, in forward order."""
    blocks = model.module.transformer.h
    parts = [(f"blocks.{i}.{kind}", b.attn.c_proj if kind == "attn.z" else b.mlp.c_proj)
             for i, b in enumerate(blocks) for kind in KINDS]  # fmt: skip
    return dict(parts)


def with_inputs(sites: dict[str, Callable[[Tensor], Tensor]], model: LanguageModel) -> list[Any]:
    """Hook what several modules read."""
    where = modules(model)
    return [
        where[path].register_forward_pre_hook(lambda _m, args, change=change: (change(args[0]),))
        for path, change in sites.items()
    ]


def finish(model: LanguageModel, hidden: Tensor, first: int) -> Tensor:
    """Run blocks from one on, and return m of every row."""
    body = model.module.transformer
    for block in body.h[first:]:
        out = block(hidden)
        hidden = out[0] if isinstance(out, tuple) else out
    logits = model.module.lm_head(body.ln_f(hidden[:, -1]))
    return logits[:, TARGET] - logits[:, CONTRAST]


def embed(model: LanguageModel, ids: Tensor) -> Tensor:
    """Return what the first block reads."""
    body = model.module.transformer
    return body.wte(ids) + body.wpe(torch.arange(ids.shape[1]))[None]


def bare_scores(model: LanguageModel, ids: Tensor, other: Tensor) -> np.ndarray:
    """Return (n(x) − n(x′)) · ∂m/∂n of every neuron and head: two forwards and one backward."""
    held: dict[str, Tensor] = {}
    base: dict[str, Tensor] = {}
    model.module.requires_grad_(False)

    def keep(path: str, x: Tensor) -> Tensor:
        held[path] = x if x.requires_grad else x.requires_grad_()
        return held[path]

    def note(path: str, x: Tensor) -> Tensor:
        base[path] = x
        return x

    with torch.no_grad():
        hooks = with_inputs({p: lambda x, p=p: note(p, x) for p in modules(model)}, model)
        finish(model, embed(model, other), 0)
        [hook.remove() for hook in hooks]
    hooks = with_inputs({p: lambda x, p=p: keep(p, x) for p in modules(model)}, model)
    measured = finish(model, embed(model, ids), 0)
    [hook.remove() for hook in hooks]
    slopes = torch.autograd.grad(measured.sum(), list(held.values()))
    parts = []
    for (path, x), slope in zip(held.items(), slopes, strict=True):
        parts.append(by_unit(model, path, (x.detach() - base[path])[0] * slope[0]))
    return np.concatenate(parts)


def by_unit(model: LanguageModel, path: str, products: Tensor) -> np.ndarray:
    """Sum a head's columns."""
    n_units = model.site(path).n_heads if path.endswith("attn.z") else products.shape[-1]
    return products.double().unflatten(-1, (n_units, -1)).sum(-1).flatten().numpy()


def record(model: LanguageModel, ids: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return every site's values, and what every block reads."""
    values: dict[str, Tensor] = {}

    def note(path: str, x: Tensor) -> Tensor:
        values[path] = x
        return x

    streams: list[Tensor] = []
    hooks = with_inputs({p: lambda x, p=p: note(p, x) for p in modules(model)}, model)
    hooks += [
        block.register_forward_pre_hook(lambda _m, args: streams.append(args[0]))
        for block in model.module.transformer.h
    ]
    with torch.no_grad():
        finish(model, embed(model, ids), 0)
    [hook.remove() for hook in hooks]
    return values, streams


def bare_path(model: LanguageModel, ids: Tensor) -> np.ndarray:
    """Return integrated gradients from zero: ten rows forward and backward for each site, from its block on."""
    model.module.requires_grad_(False)
    values, streams = record(model, ids)
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    alphas = torch.tensor((nodes + 1) / 2, dtype=torch.float32)[:, None, None]
    shares = torch.tensor(weights / 2, dtype=torch.float32)[:, None, None]
    parts = []
    for path, x in values.items():
        layer = model.site(path).layer or 0
        leaf = (alphas * x).requires_grad_()
        hooks = with_inputs({path: lambda _x, leaf=leaf: leaf}, model)
        measured = finish(model, streams[layer].expand(STEPS, -1, -1), layer)
        [hook.remove() for hook in hooks]
        [slope] = torch.autograd.grad(measured.sum(), [leaf])
        parts.append(by_unit(model, path, x[0] * (shares * slope).sum(0)))
    return np.concatenate(parts)


class ReceiptSets:
    """Hold the sets that an explanation of a prompt replaces, to be measured by the rig and by a bare loop."""

    def __init__(self, model: LanguageModel, ids: Tensor) -> None:
        self.model, self.ids = model, ids
        kept: list[Any] = []

        def take(_model: Any, cases: Any, units: Any, baseline: Any, **_how: Any) -> np.ndarray:
            kept.append((cases, units, baseline))
            return np.zeros((1, len(units)))

        original = receipts_module.measure_sets
        receipts_module.measure_sets = take
        try:
            scores = attribute_nodes(model, stimulus(ids), METRIC, method="attribution_patching")
            chosen = scores.top(20)
            receipts_module.measure_receipts(
                model,
                stimulus(ids),
                METRIC,
                scores,
                None,
                Baseline("zero"),
                chosen,
                scores.top(5),
                n_controls=99,
                seed=0,
            )
        finally:
            receipts_module.measure_sets = original
        self.cases, self.units, self.baseline = kept[0]
        self.rows: Sequence[Any] = self.units.rows

    def measure(self) -> np.ndarray:
        """Measure them in the rig."""
        return measure_sets(self.model, self.cases, self.units, self.baseline)[0]

    def bare(self) -> np.ndarray:
        """Measure them by a loop: rows that change one block first are run together, from this block on."""
        model, n = self.model, self.ids.shape[1]
        values, streams = record(model, self.ids)
        firsts = self.units.keys.firsts
        marks = {path: self._marks(a, b) for path, a, b in zip(values, firsts, firsts[1:], strict=False)}
        layers = np.full(len(self.rows), len(streams))
        for path in reversed(values):
            layers[marks[path].any(1)] = model.site(path).layer or 0
        measured = np.zeros(len(self.rows))
        for layer in np.unique(layers):
            own = np.flatnonzero(layers == layer)
            for some in (own[k : k + ROWS] for k in range(0, len(own), ROWS)):
                off = {}
                for path in values:
                    if (model.site(path).layer or 0) >= layer and marks[path][some].any():
                        off[path] = torch.from_numpy(marks[path][some]).view(len(some), n, -1)
                hooks = with_inputs({p: lambda x, mask=mask: silence(x, mask) for p, mask in off.items()}, model)
                start = streams[min(int(layer), len(streams) - 1)].expand(len(some), -1, -1)
                with torch.no_grad():
                    measured[some] = finish(model, start, int(min(layer, len(streams) - 1))).double().numpy()
                [hook.remove() for hook in hooks]
        return measured

    def _marks(self, first: int, end: int) -> np.ndarray:
        found = np.zeros((len(self.rows), end - first), dtype=bool)
        for mark, row in zip(found, self.rows, strict=True):
            if isinstance(row, First):
                mark[:] = row[slice(first, end)]
            elif row.dtype == bool:
                mark[:] = row[first:end]
            else:
                own = row[(row >= first) & (row < end)]
                mark[own - first] = True
        return found


def silence(x: Tensor, mask: Tensor) -> Tensor:
    """Put zero in place of marked units."""
    return x.masked_fill(mask.repeat_interleave(x.shape[-1] // mask.shape[-1], -1), 0.0)


# -- growth -----------------------------------------------------------------------------------------------------------


def small(**sizes: int) -> LanguageModel:
    """Return a smaller model of random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=1000, n_positions=512, bos_token_id=999, eos_token_id=999, **sizes)
    return LanguageModel(GPT2LMHeadModel(config).eval(), shape.words(), name="small")


def growth(lengths: Sequence[int], *, quick: bool) -> dict[str, Any]:
    """Time the whole of explain as prompts and widths grow, and print the exponents of both."""
    widths = [64, 128] if quick else [128, 256, 512]
    found: dict[str, Any] = {}
    for method in ("attribution_patching", "integrated_gradients"):
        model = small(**GROWN)
        in_tokens = {n: whole(model, n, method).wall_s for n in lengths}
        in_units = {}
        for width in widths:
            model = small(**{**GROWN, "n_embd": width})
            in_units[width] = whole(model, 16, method).wall_s
        print(f"\nexplain by {method}: s by tokens {_said(in_tokens)}; by width {_said(in_units)}")
        found[method] = {
            "tokens": in_tokens, "widths": in_units,
            "exponent in tokens": exponent(in_tokens), "exponent in width": exponent(in_units),
        }  # fmt: skip
        print(f"exponents: tokens {exponent(in_tokens):.2f}, width {exponent(in_units):.2f}")
    return found


def whole(model: LanguageModel, n: int, method: str) -> timing.Spent:
    """Time one explanation, edges left out."""
    ids = shape.ids(1, n) % model.n_answers
    return timing.spend(lambda: explain(model, stimulus(ids), metric=METRIC, method=method, edges=0))


def _said(times: dict[int, float]) -> str:
    return ", ".join(f"{n}: {seconds:.2f}" for n, seconds in times.items())


def exponent(times: dict[int, float]) -> float:
    """Return the slope of log time on log size."""
    return float(np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0])


# -- what is stated ---------------------------------------------------------------------------------------------------


def costs(lengths: Sequence[int], *, threads: int) -> list[dict[str, Any]]:
    """Hold what an explanation is said to take against what it took, each length in a process of its own."""
    found = []
    for n in lengths:
        command = [sys.executable, __file__, "--child", str(n), "--threads", str(threads)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print("\nexplain by integrated gradients, stated / measured")
    names = ("tokens", "backward rows", "receipt rows", "MB", "forward passes")
    timing.show(names, [[n, *(f"{one[name][0]:,.0f} / {one[name][1]:,.0f}" for name in names[1:])]
                        for n, one in zip(lengths, found, strict=True)])  # fmt: skip
    return found


def stated_and_measured(n: int) -> dict[str, tuple[float, float]]:
    """Explain a prompt of so many tokens, and return every cost as it is stated and as it was."""
    model = small(**GROWN)
    ids = shape.ids(1, n) % model.n_answers
    passes: list[int] = []
    differentiate = LanguageModel.differentiate

    def count(self: LanguageModel, shown: Any, *given: Any, **how: Any) -> Any:
        passes.append(len(shown))
        return differentiate(self, shown, *given, **how)

    rows: list[int] = []
    measure = receipts_module.measure_sets

    def note(*given: Any, **how: Any) -> np.ndarray:
        measured = measure(*given, **how)
        rows.append(measured.size)
        return measured

    once = [timing.spend(lambda: model.measure([stimulus(ids)], METRIC)).cpu_s for _ in range(7)]
    cost = cost_of_explanation(model, n, method="integrated_gradients")
    LanguageModel.differentiate = count  # type: ignore[method-assign]
    receipts_module.measure_sets = note
    with peak_memory() as peak:
        spent = timing.spend(lambda: explain(model, stimulus(ids), metric=METRIC, edges=0))
    n_stated = int(cost.scoring.split()[0].replace(",", ""))
    return {
        # The strongest direct logit attributions are chosen by one more.
        "backward rows": (n_stated + 1, sum(passes)),
        "receipt rows": (cost.receipts, sum(rows)),
        "MB": (cost.bytes / 1e6, peak[0] / 1e6),
        "forward passes": (cost.forwards, spent.cpu_s / sorted(once)[len(once) // 2]),
    }


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Give the largest growth of the process' memory inside the context, seen every few milliseconds."""
    page, done = os.sysconf("SC_PAGE_SIZE"), threading.Event()

    def now() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    before, peak = now(), [0]

    def watch() -> None:
        while not done.wait(0.003):
            peak[0] = max(peak[0], now() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
