"""Features: steps of a TopK autoencoder by patchclamp and two peers, in turn, each in its own process.

Width 512, 4,096 latents, k 32, batches of 2,048 made-up activations (sparse sums of 2,048 directions), Adam. Speed is
activations per processor second; the loss is held out, after equal steps, each tool at the best of the same learning
rates, because weights that begin at another length want another one. Peers live in environments of their own
(``benchmarks/peers/setup.sh sparsify``, ``sae-lens``); one that is absent is skipped.
``--transcoder`` instead trains transcoders and autoencoders of an MLP's output on ``organism:language-gpt2``, three
seeds each, and prints the cross-entropy when they stand in for the MLP against their active latents.
"""

import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import in_memory
import numpy as np
import timing

TOOLS = {"patchclamp_coder.py": None, "sparsify_coder.py": "sparsify", "sae_lens_coder.py": "sae-lens"}
BARS = {"sparsify": 1.25, "SAELens": 2.5}
WIDTH, LATENTS, K, BATCH = 512, 4096, 32, 2048
RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def main() -> None:
    parser = timing.parser(__doc__, rounds=5)
    parser.add_argument("--steps", type=int, default=4, help="steps per round")
    parser.add_argument("--transcoder", action="store_true", help="transcoders against autoencoders instead")
    options = parser.parse_args()
    if options.transcoder:
        compare_transcoders(options)
        return
    size = (64, 256, 8, 128) if options.quick else (WIDTH, LATENTS, K, BATCH)
    rounds, n_steps = (1, 2) if options.quick else (options.rounds, options.steps)
    spent: dict[str, list[timing.Spent]] = {}
    left: dict[str, dict[float, float]] = {}
    for rate in RATES[:1] if options.quick else RATES:
        with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
            folder = Path(name)
            write_activations(folder, *size, rate)
            tools = start(folder, options.threads, ends)
            for turn in range(rounds + 1):
                for tool in tools[turn % len(tools) :] + tools[: turn % len(tools)]:
                    answer = timing.Spent(**tool.ask("train", str(n_steps)))
                    # The first round pays for set-up; its steps count for the loss.
                    if turn:
                        spent.setdefault(tool.name, []).append(answer)
            for tool in tools:
                left.setdefault(tool.name, {})[rate] = tool.ask("unexplained")["unexplained"]
    ours, steps = next(iter(left)), (rounds + 1) * n_steps
    best = {tool: min(rates, key=rates.__getitem__) for tool, rates in left.items()}
    rows, bars = [], []
    for tool, rates in left.items():
        ratio = timing.ratio(spent[tool], spent[ours])
        per_s = n_steps * size[3] / timing.median(spent[tool]).cpu_s
        loss = rates[best[tool]]
        rows.append(
            [tool, f"{per_s:,.0f}", f"{ratio.cpu_s:.2f}", f"{ratio.wall_s:.2f}", f"{loss:.3f}", f"{best[tool]:g}"]
        )
        bar = next((value for peer, value in BARS.items() if tool.startswith(peer)), None)
        if bar is not None:
            bars.append(timing.Bar(f"patchclamp's speed / {tool}, cpu", ratio.cpu_s, ">=", bar))
            bars.append(timing.Bar(f"patchclamp's loss / {tool}, equal steps", left[ours][best[ours]] / loss, "<=", 1))
    timing.show(["tool", "activations/cpu-s", "cpu / ours", "wall / ours", f"unexplained, {steps} steps", "rate"], rows)
    timing.report(options, {**spent, "unexplained": {tool: dict(rates) for tool, rates in left.items()}}, bars)


def write_activations(folder: Path, width: int, latents: int, k: int, batch: int, rate: float) -> None:
    draw = np.random.default_rng(0)
    n = latents // 2
    directions = draw.normal(size=(n, width)) / width**0.5
    sets = {"activations": 8 * batch, "held_out": batch}
    for name, rows in sets.items():
        parts = (draw.random((rows, n)) < k / 2 / n) * draw.exponential(size=(rows, n))
        np.save(folder / f"{name}.npy", (parts @ directions + 0.1).astype(np.float32))
    about = {"latents": latents, "k": k, "batch": batch, "rate": rate}
    (folder / "about.json").write_text(json.dumps(about))


def start(folder: Path, threads: int, ends: ExitStack) -> list[in_memory.Tool]:
    tools = []
    for script, peer in TOOLS.items():
        python = Path(sys.executable) if peer is None else in_memory.PEERS / peer / "bin" / "python"
        if python.exists():
            tools.append(in_memory.Tool(python, script, folder, threads))
            ends.callback(tools[-1].end)
        else:
            print(f"skipped {peer}: no environment {python.parents[1]}; make it with benchmarks/peers/setup.sh {peer}")
    return tools


def compare_transcoders(options: Any) -> None:
    """Train both at equal width and k, and put each in the MLP's place on text that neither saw."""
    import torch

    import patchclamp as pc
    from patchclamp.decompose import ArraySource, Job, Recipe, TopKConfig, train
    from patchclamp.decompose.transcoding import mlp_sites
    from patchclamp.organisms import language

    torch.set_num_threads(options.threads)
    model = pc.load("organism:language-gpt2")
    layer, ks, seeds, n_latents, tokens = 2, (4, 8, 16), (0, 1, 2), 512, 50_000
    if options.quick:
        ks, seeds, n_latents, tokens = (4,), (0,), 64, 6000
    reads, writes = mlp_sites(model, layer)
    # Every document alone, as the organism was trained: on windows that join them its own loss is five times as high.
    documents = [one.stimulus for one in language.text(400 if options.quick else 4000, seed=1, model=model)]
    shown = [one.stimulus for one in language.text(40 if options.quick else 400, seed=2, model=model)]
    source = ArraySource(
        {site: values[:tokens] for site, values in recorded(model, documents, (reads, writes)).items()}
    )
    bare, rows = cross_entropy(model, shown, None, reads, writes), []
    for seed in seeds:
        jobs = [
            Job(site, writes, TopKConfig(n_latents, k=k, skip=skip and site == reads))
            for k in ks
            for site, skip in ((writes, False), (reads, False), (reads, True))
        ]
        for one in train(source, jobs, Recipe(batch_size=256, passes=4, seed=seed)):
            kind = "autoencoder" if one.job.reads == writes else "transcoder"
            kind += ", skip" if one.job.config.skip else ""
            ce, l0 = cross_entropy(model, shown, one.coder, one.job.reads, writes)
            rows.append((kind, one.job.config.k, seed, l0, ce - bare[0]))
    zero = cross_entropy(model, shown, torch.zeros_like, writes, writes)
    print(f"{writes}: cross-entropy {bare[0]:.4f}; with the MLP's output zero {zero[0] - bare[0]:+.4f}")
    table = []
    for kind, k in dict.fromkeys((kind, k) for kind, k, *_ in rows):
        same = [(l0, ce) for a, b, _, l0, ce in rows if (a, b) == (kind, k)]
        mean = statistics.mean(ce for _, ce in same)
        # Student's t of two degrees of freedom, for three seeds
        half = 4.303 * statistics.stdev([ce for _, ce in same]) / len(same) ** 0.5 if len(same) > 2 else float("nan")
        l0 = statistics.mean(l0 for l0, _ in same)
        table.append([kind, k, f"{l0:.1f}", f"{mean:+.4f}", f"{mean - half:+.4f} … {mean + half:+.4f}"])
    timing.show(["kind", "k", "L0", "cross-entropy added", "95 % interval, three seeds"], table)
    timing.report(options, {"rows": rows, "bare": bare[0], "zero": zero[0]}, [])


def recorded(model: Any, documents: Any, sites: tuple[str, ...]) -> dict[str, Any]:
    """Return what sites do at the counted tokens of documents."""
    found: dict[str, list[Any]] = {site: [] for site in sites}
    for i in range(0, len(documents), 50):
        run = model.run(documents[i : i + 50], record=list(sites), logits=False)
        for site in sites:
            found[site].append(np.asarray(run.recording[site])[run.recording.counted])
    return {site: np.concatenate(parts) for site, parts in found.items()}


def cross_entropy(model: Any, shown: Any, coder: Any, reads: str, writes: str) -> tuple[float, float]:
    """Return the mean loss per token where a coder's output stands in for a site, and its active latents."""
    import torch

    total, count, active, seen = 0.0, 0, 0.0, 0
    for i in range(0, len(shown), 8):
        batch = shown[i : i + 8]
        held: dict[str, Any] = {}

        def note(x: Any, held: dict[str, Any] = held) -> Any:
            held["x"] = x
            return x

        def stand_in(x: Any, held: dict[str, Any] = held) -> Any:
            read = held.get("x", x)
            flat = read.reshape(-1, read.shape[-1])
            held["f"] = coder.encode(flat) if hasattr(coder, "encode") else flat
            return coder(flat).reshape(x.shape)

        with ExitStack() as hooks:
            if coder is not None:
                if reads != writes:
                    inner = model.module.get_submodule(reads.removeprefix("module.").removesuffix(".in"))
                    handle = inner.register_forward_pre_hook(lambda _m, args, note=note: (note(args[0]),))
                    hooks.callback(handle.remove)
                place = model.covering_family().sites_of(model.module, int(writes.split(".")[1]))["mlp.write"]
                outer = model.module.get_submodule(place.module)
                handle = outer.register_forward_hook(lambda _m, _a, out, stand_in=stand_in: stand_in(out))
                hooks.callback(handle.remove)
            logits = model.run(batch).logits
        for row, one in enumerate(batch):
            ids = torch.tensor(one.ids)
            logp = logits[row, : len(ids) - 1].float().log_softmax(-1)
            total -= float(logp.gather(1, ids[1:, None]).sum())
            count += len(ids) - 1
        if "f" in held:
            active, seen = active + float((held["f"] > 0).sum()), seen + len(held["f"])
    return total / count, active / max(seen, 1)


if __name__ == "__main__":
    main()
