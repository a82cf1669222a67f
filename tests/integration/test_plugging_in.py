"""What the how-tos add is found where it lies: their files, put into a copy of the package, work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from howto_files import HOWTO, read_files

ROOT = Path(__file__).resolve().parents[2]
TOUCHED = {
    "method": ["src/patchclamp/compare/methods/linear_cka.py", "tests/oracles/cka.py"],
    "benchmark": ["src/patchclamp/evaluate/benchmarks/mean_max_cosine.py", "tests/oracles/mean_max_cosine.py"],
    "verb": ["src/patchclamp/cli/verbs/tokens.py"],
    "organism": [
        "src/patchclamp/organisms/gate/__init__.py",
        "tests/planted/test_gate.py",
        "src/patchclamp/organisms/planted/lamps.py",
    ],
    "stimulus": ["src/patchclamp/core/stimulus/kinds/series.py"],
    "reader": ["src/patchclamp/subjects/readers/tsv.py"],
    "screen": [
        "src/patchclamp/atlas/serve/screens/layers.py",
        "web/src/screens/layers/screen.ts",
        "web/src/screens/layers/Layers.tsx",
    ],
}
"""Page → the files that its example adds; nothing else is written by hand."""

USE = """
import json, sys, traceback
from contextlib import redirect_stdout
from io import StringIO
import numpy as np
from patchclamp.core.method_files import write_index
from patchclamp.core.method_index import FILE

FILE.write_text(write_index(), encoding="utf-8")  # what `PATCHCLAMP_REWRITE=1 pytest tests/conformance` does
import patchclamp as pc

def method():
    from oracles.cka import oracle
    from patchclamp.organisms.populations import make
    brain, card = make("brain-linear"), next(card for card in pc.methods("compare") if card.name == "linear_cka")
    checks = pc.check_method(card.load(), oracle=oracle, organisms=False, n_null=19)
    found = pc.compare(brain.features, brain.features, method="linear_cka", n_null=19).estimate.value
    return [[check.name for check in checks if not check.passed], round(found, 6), len(checks) > 5]

def benchmark():
    from oracles.mean_max_cosine import mean_max_cosine
    from patchclamp.core.method_files import find_method
    from patchclamp.organisms import superposition
    planted = superposition.make(n_rows=100).basis
    made = find_method("mean_max_cosine", "evaluate", kind="benchmark")(planted, planted)
    turned = [mean_max_cosine(planted, planted, None)[0], made.value]
    return [[round(one, 6) for one in turned], made.p, made.ceiling]

def verb():
    from patchclamp.cli import build_parser
    from patchclamp.cli.main import main
    with redirect_stdout(StringIO()) as told:
        code = main(["tokens", "organism:cat", "the old cat"])
    return [code, told.getvalue().split(), "tokens" in build_parser().format_help()]

def organism():
    from patchclamp.calibrate.hashes import hash_organism
    from patchclamp.calibrate.runner import run_row
    from patchclamp.core.method_files import find_method
    from patchclamp.organisms import names
    held = [run_row(find_method(name, "attribute"), "gate", claim)["held"]
            for name, claim in (("attribution_patching", "show"), ("activation", "miss"))]
    from patchclamp.calibrate import calibrate_circuits
    methods = ["activation_patching", "direct_logit", "activation"]
    rows = {row.method: row.found for row in calibrate_circuits(["lamp-gpt2"], methods=methods)}
    lamp = [rows[method] for method in methods]
    return ["gate" in names(), pc.load("organism:gate").name, held, len(hash_organism("gate")), lamp]

def stimulus():
    from patchclamp.core.stimulus import kind_names, pack_stimuli, unpack_stimuli
    from patchclamp.core.stimulus.kinds.series import Series
    shown = [Series(np.arange(n) + 0.5) for n in (3, 1)]
    return ["series" in kind_names(), [one.values.tolist() for one in unpack_stimuli(pack_stimuli(shown))]]

def reader():
    from pathlib import Path
    Path("cells.tsv").write_text("t\\tleft\\n0\\t1\\n0.5\\t2\\n1\\t4\\n")
    brain = pc.load_recording("cells.tsv", measure="counts")
    Path("torn.tsv").write_text("t\\tleft\\n0\\t1\\n0.5\\n")
    try:
        pc.load_recording("torn.tsv")
    except pc.PatchclampError as problem:
        refused = type(problem).__name__
    return [brain.rate, brain.values.ravel().tolist(), refused]

def screen():
    from patchclamp.atlas.serve.app import make_app
    from patchclamp.atlas.serve.screens.layers import layer_counts
    from patchclamp.atlas.serve.openapi import schema
    from types import SimpleNamespace
    rows = [(0, "a", "a", 0, "neurons", 0, 16), (1, "b", "b", 0, "heads", 16, 4), (2, "c", "c", None, "whole", 20, 1)]
    atlas = SimpleNamespace(sites=rows, folder=FILE.parent, source=lambda python: python)
    counts = layer_counts(atlas).rows
    known = "LayerCounts" in schema()["components"]["schemas"]
    routed = "/api/layers" in make_app(lambda: None).openapi()["paths"]
    return [routed, known, [[row.layer, row.units] for row in counts]]

found = {}
for kind in sys.argv[1:]:
    try:
        found[kind] = globals()[kind]()
    except BaseException:
        found[kind] = traceback.format_exc()
print("FOUND" + json.dumps(found))
"""
WORKS = {
    "method": [[], 1.0, True],
    "benchmark": [[1.0, 1.0], 0.05, 1.0],
    "verb": [0, ["<bos>", "the", "old", "cat"], True],
    "organism": [True, "gate", [True, True], 16, [1.0, 1.0, 0.0]],
    "stimulus": [True, [[0.5, 1.5, 2.5], [0.5]]],
    "reader": [2.0, [1.0, 2.0, 4.0], "Damaged"],
    "screen": [True, True, [[0, 20], [None, 1]]],
}
"""Page → what is seen when its example is used."""


PROVEN = ["tests/unit/test_stimulus_kinds.py", "tests/planted/test_gate.py", "tests/meta/test_verbs_in_python.py"]
"""Test files that the pages name and that are quick, each run where the examples lie."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """Put the files of all pages into a copy of the package."""
    copy = tmp_path_factory.mktemp("plugged")
    shutil.copytree(ROOT / "src" / "patchclamp", copy / "src" / "patchclamp")
    for page in TOUCHED:
        for path, text in read_files(page).items():
            target = copy / path
            assert not target.exists(), f"{path} is in the package already"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "tests", copy / "tests", dirs_exist_ok=True)
    shutil.copytree(HOWTO, copy / "docs" / "howto")
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@pytest.fixture(scope="module")
def used(copy: Path) -> dict:
    """Use each example once, and return what was seen."""
    places = [str(copy / "src"), str(copy / "tests")]
    made = subprocess.run(
        [sys.executable, "-c", USE, *TOUCHED],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        capture_output=True,
        text=True,
    )
    assert "FOUND" in made.stdout, made.stdout + made.stderr
    return json.loads(made.stdout.partition("FOUND")[2])


@pytest.mark.parametrize("page", TOUCHED)
def test_an_example_touches_its_own_files_alone(page: str):
    assert list(read_files(page)) == TOUCHED[page]


def test_the_tests_that_pages_name_pass_where_their_examples_lie(copy: Path):
    made = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *PROVEN],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy / "tests")])},
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout[-4000:] + made.stderr[-2000:]


@pytest.mark.parametrize("page", TOUCHED)
def test_what_was_put_there_is_found_and_works(page: str, used: dict):
    assert used[page] == WORKS[page], used[page]


def test_a_folder_of_a_screen_is_one_that_the_page_lists():
    listed = re.search(r'glob<[^>]*>\("\./(.*?)"', (ROOT / "web" / "src" / "screens.ts").read_text())
    assert listed, "screens are not listed"
    [declared] = [path for path in TOUCHED["screen"] if path.endswith("screen.ts")]
    assert Path(declared).relative_to("web/src").match(listed[1])
    text = read_files("screen")[declared]
    asked = re.findall(r"^  (\w+): ", (ROOT / "web" / "src" / "screen.ts").read_text(), flags=re.MULTILINE)
    assert {"path", "load"} <= set(asked) <= set(re.findall(r"(\w+):", text)) | {"title", "key", "order"}


@pytest.mark.parametrize("page", sorted(HOWTO.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_shows_the_files_of_the_package_as_they_are(page: Path):
    text = page.read_text(encoding="utf-8")
    for path, shown in read_files(page.stem, "same").items():
        real = (ROOT / path).read_text(encoding="utf-8")
        if os.environ.get("PATCHCLAMP_REWRITE"):
            head = f"<!-- same: {path} -->\n```python\n"
            text = text.replace(head + shown, head + real)
            page.write_text(text, encoding="utf-8")
            shown = real
        assert shown == real, "PATCHCLAMP_REWRITE=1 pytest tests/integration/test_plugging_in.py"


@pytest.mark.parametrize("page", sorted(HOWTO.glob("[a-z]*.md")), ids=lambda page: page.stem)
def test_a_page_ends_with_the_command_that_proves_it(page: Path):
    fences = re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    commands = [text for kind, text in fences if kind == "sh"]
    assert commands, "no command"
    assert re.search(r"^(pytest|make|patchclamp verify) ", commands[-1], flags=re.MULTILINE)
    for path in re.findall(r"(?:tests|src)/[\w/.]+", commands[-1]):
        assert (ROOT / path).exists() or path in read_files(page.stem), path
