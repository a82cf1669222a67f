"""Serve: answer the runner's lines on standard input, one JSON line each, with the model loaded once.

Runs in every peer's own environment, so it needs torch, transformers and numpy only. A line is ``time WAY`` or
``save WAY FILE``; a way records the 36 sites over all batches and returns the last batch's values by canonical name.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

Values = Mapping[str, Any]
Record = Callable[[Any], Values]
"""From ``(row, column)`` token ids to values by canonical name; nothing to save in a run that is only timed."""


def load(folder: Path) -> Any:
    """Return the model of a folder, as it is for every tool."""
    from transformers import GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return GPT2LMHeadModel.from_pretrained(folder).eval()


def serve(ways: Callable[[Any], tuple[str, Mapping[str, Record]]]) -> None:
    """Load weights and ids from the folder named on the command line, then answer until standard input ends.

    Args:
        ways: from the model to the tool's name with its version, and its ways to record.
    """
    import numpy as np
    import torch

    folder, threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    answers = sys.stdout
    # What a tool prints must not stand among the answers.
    with contextlib.redirect_stdout(sys.stderr):
        name, known = ways(load(folder))
        batches = [torch.from_numpy(ids) for ids in np.load(folder / "ids.npy")]
        print(json.dumps({"tool": name, "ways": list(known)}), file=answers, flush=True)
        for line in sys.stdin:
            task, way, *rest = line.split(maxsplit=2)
            with torch.no_grad():
                answer = spend(known[way], batches) if task == "time" else save(known[way](batches[0]), rest[0].strip())
            print(json.dumps(answer), file=answers, flush=True)


def spend(record: Record, batches: list[Any]) -> dict[str, float]:
    """Record every batch; return wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    for ids in batches:
        record(ids)
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def save(values: Values, file: str) -> dict[str, int]:
    """Write values as ``(rows · columns, width)`` arrays."""
    import numpy as np

    arrays = {name: x.detach().reshape(-1, x.shape[-1]).numpy() for name, x in values.items()}
    np.savez(file, **arrays)
    return {"sites": len(arrays)}
