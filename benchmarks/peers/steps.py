"""Steps: answer the runner's lines on standard input, one JSON line each, with a sparse coder that goes on training.

Runs in every peer's own environment, so it needs torch and numpy only. ``train N`` takes N steps and returns their
seconds; ``unexplained`` returns the share of the held-out variance that the coder leaves.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[[int, int, int, float, Any], tuple[str, Callable[[Any], None], Callable[[Any], Any]]]
"""From width, latents, k, learning rate and the first batch to name with version, one step, and reconstruction."""


def serve(make: Make) -> None:
    """Load activations from the folder named on the command line, then answer until standard input ends."""
    import numpy as np
    import torch

    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    about = json.loads((folder / "about.json").read_text())
    x = torch.from_numpy(np.load(folder / "activations.npy"))
    held = torch.from_numpy(np.load(folder / "held_out.npy"))
    batches = x.split(about["batch"])
    answers, done = sys.stdout, 0
    # What a tool prints must not stand among the answers.
    with contextlib.redirect_stdout(sys.stderr):
        name, step, rebuild = make(x.shape[1], about["latents"], about["k"], about["rate"], batches[0])
        print(json.dumps({"tool": name, "ways": []}), file=answers, flush=True)
        for line in sys.stdin:
            task, *rest = line.split()
            if task == "train":
                wall, cpu = time.perf_counter(), time.process_time()
                for _ in range(int(rest[0])):
                    step(batches[done % len(batches)])
                    done += 1
                answer = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            else:
                with torch.no_grad():
                    error = (rebuild(held) - held).square().sum()
                answer = {"unexplained": float(error / (held - held.mean(0)).square().sum())}
            print(json.dumps(answer), file=answers, flush=True)
