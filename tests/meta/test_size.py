"""Files stay small, and none of them loads a pickle."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

MOST_LINES = 600
MOST_BYTES = 10 * 2**20
RUNS_CODE = re.compile(r"weights_only\s*=\s*False|\b(?:pickle|dill|joblib)\.loads?\b|allow_pickle\s*=\s*True")


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout: only there is it known which files are tracked")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_source_files_are_short():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_tracked_files_are_small():
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in tracked_files()}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES} == {}


def test_no_pickle_is_loaded():
    assert SOURCES, "there is nothing to look at"
    assert [path.relative_to(ROOT).as_posix() for path in SOURCES if RUNS_CODE.search(path.read_text())] == []


@pytest.mark.parametrize(
    "line", ["torch.load(p, weights_only=False)", "pickle.load(f)", "np.load(p, allow_pickle=True)"]
)
def test_the_check_sees_a_pickle(line: str):
    assert RUNS_CODE.search(line)
