"""Importing the package, and asking it for help, must not cost an import of a framework."""

import json
import subprocess
import sys

import pytest

# numpy is a noun's material and allowed; these are frameworks, or are only ever brought along by one.
HEAVY = {
    "accelerate",
    "huggingface_hub",
    "matplotlib",
    "networkx",
    "pandas",
    "scipy",
    "sklearn",
    "sympy",
    "tokenizers",
    "torch",
    "transformers",
}

HELP = """
from patchclamp.cli import main
sys.argv = ["patchclamp", *{arguments!r}]
try:
    main()
except SystemExit as leave:
    assert not leave.code, leave.code
"""


def heavy_modules_after(code: str) -> set[str]:
    script = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light():
    assert heavy_modules_after("import patchclamp") == set()


@pytest.mark.parametrize("module", ["patchclamp.atlas.atlas", "patchclamp.atlas.serve.server"])
def test_an_atlas_is_read_and_served_without_a_framework(module: str):
    assert heavy_modules_after(f"import {module}") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["explain", "--help"]], ids=" ".join)
def test_help_is_light(arguments: list[str]):
    assert heavy_modules_after(HELP.format(arguments=arguments)) == set()


INTERRUPTED = """
from patchclamp.cli.output import as_error
from patchclamp.cli import build_parser
words = ["decompose", "organism:cat", "--sites", "*", "--inputs", "t", "--out", "o", "--method", {method!r}]
assert {remedy!r} in as_error(KeyboardInterrupt(), words, build_parser).remedy
assert not {{"numpy", "rich"}} & set(sys.modules)
"""


@pytest.mark.parametrize(("method", "remedy"), [("topk", "--resume"), ("pca", "Run it again")])
def test_an_interruption_is_reported_without_numpy(method: str, remedy: str):
    # Ctrl-C may have stopped the import of numpy half way: a second import of it would raise.
    assert heavy_modules_after(INTERRUPTED.format(method=method, remedy=remedy)) == set()


def test_the_check_sees_a_heavy_import():
    assert "networkx" in heavy_modules_after("import networkx")
