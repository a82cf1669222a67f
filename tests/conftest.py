"""What every test may count on: no network, one thread, repeatable examples, and the optional shared data."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Set before anything imports transformers or torch: both read these once. Subprocesses inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# pytest-xdist workers would otherwise each start a thread per core; one thread also keeps sums in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SOAK = os.environ.get("PATCHCLAMP_SOAK") == "1"

# Wall-clock deadlines fail on a loaded machine and say nothing about the code.
settings.register_profile("short", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("soak", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "short")


@pytest.fixture(scope="session")
def soak() -> bool:
    """Whether tests marked `soak` should use their long counts."""
    return SOAK


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of pretrained models and recorded data that may lie beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the shared models and data in ../shared, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def stories(shared: Path) -> Path:
    """A 260 thousand parameter Llama trained on children's stories."""
    folder = shared / "models" / "stories260K"
    if not (folder / "model.safetensors").is_file():
        pytest.skip("needs the model ../shared/models/stories260K, which is not part of the repository")
    return folder
