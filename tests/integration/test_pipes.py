"""Nothing that is read from a folder is opened before it is known to be a plain file: a pipe would never end."""

import os
import subprocess
import sys

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.bundle import Bundle
from patchclamp.core.dictionary import Dictionary

READ = """
import sys
from pathlib import Path
import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.core.bundle import Bundle
readers = {
    "piece": lambda at: Bundle.open(at).read("shard-00000"),
    "shapes": lambda at: Bundle.open(at).shapes("shard-00000"),
    "basis": pc.load_basis,
    "saelens": pc.load_basis,
    "graph.json": pc.Graph.load,
    "base": pc.atlas.open,
    "layer": lambda at: pc.atlas.open(at).page(),
    "runs": lambda at: pc.atlas.open(at).page(),
}
for name, read in readers.items():
    try:
        read(Path(sys.argv[1]) / name)
        print(name, "read")
    except PatchclampError:
        print(name, "refused")
"""


@pytest.fixture
def folders(tmp_path, seeded_atlas):
    """Return a folder of each kind, in which a pipe stands in the place of a file."""
    import shutil

    for name in ("piece", "shapes"):
        bundle = Bundle.create(tmp_path / name, kind="recording", manifest={})
        bundle.append("shard-00000", {"a": np.zeros(3)})
    Dictionary({"here": pc.Basis("two", "directions", decoder=np.eye(2))}, {}, "by hand").save(tmp_path / "basis")
    (tmp_path / "saelens").mkdir()
    (tmp_path / "saelens" / "cfg.json").write_text('{"architecture": "standard", "d_in": 2, "d_sae": 2}')
    pipes = {
        "piece": "shard-00000.safetensors", "shapes": "shard-00000.safetensors", "basis": "basis-000.safetensors",
        "saelens": "sae_weights.safetensors", "graph.json": "", "base": "base/base.sqlite", "runs": "runs.sqlite",
        "layer": "layers/graph-0000000000000000.sqlite",
    }  # fmt: skip
    for name, pipe in pipes.items():
        if name in ("base", "layer", "runs"):
            shutil.copytree(seeded_atlas, tmp_path / name)
        (tmp_path / name / pipe).unlink(missing_ok=True)
        os.mkfifo(tmp_path / name / pipe if pipe else tmp_path / name)
    return tmp_path


def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(folders):
    told = subprocess.run(
        [sys.executable, "-c", READ, str(folders)], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert told.split() == [
        "piece", "refused", "shapes", "refused", "basis", "refused", "saelens", "refused", "graph.json", "refused",
        "base", "refused", "layer", "read", "runs", "read",
    ]  # fmt: skip
