"""Figures of the verbs, on organisms and a small pretrained model, stay what they were.

`PATCHCLAMP_REWRITE=1` writes rows that differ anew (and only those); each then needs a line with its cause in
differences.md. A name that changes needs a line in renames.tsv and no rewriting.
"""

import functools
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from fnmatch import fnmatchcase
from io import StringIO
from pathlib import Path

import pytest

import patchclamp as pc
from conftest import SOAK
from golden.cases import BASIS, CASES
from golden.compare import (
    changed,
    compare,
    digests,
    is_loose,
    read_differences,
    read_renames,
    read_rows,
    rewritten,
    write_rows,
)
from golden.rows import rows_of

HERE = Path(__file__).parent
FILES, TAKEN = HERE / "files", HERE / "taken.json"
RENAMES = read_renames((HERE / "renames.tsv").read_text(encoding="utf-8"))
REWRITE = os.environ.get("PATCHCLAMP_REWRITE") == "1"
BY_NAME = {case.name: case for case in CASES}
SHOWN = 12


@pytest.fixture(scope="module", autouse=True)
def models_load_once():
    """Load each model once for all commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchclamp.loaders.load", functools.cache(pc.load))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a case's command, and what must stand before it, each once; return its document and its folder."""
    from golden.cases import write_inputs
    from patchclamp.cli import main

    folder = tmp_path_factory.mktemp("golden")
    inputs = write_inputs(folder)

    def typed(words):
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([*words, "--json"])
        assert code == 0, err.getvalue()
        return json.loads(out.getvalue())

    @functools.cache
    def basis():
        typed([word.format(**inputs, out=folder / "basis") for word in BASIS])
        return folder / "basis"

    @functools.cache
    def run_case(name, stories):
        case = BY_NAME[name]
        filled = {**inputs, "out": folder / name, "stories": stories}
        if case.before is not None:
            filled["before"] = run_case(case.before, stories)[1]
        if "{basis}" in case.words:
            filled["basis"] = basis()
        return typed([word.format(**filled) for word in case.words]), folder / name

    return run_case


@pytest.mark.soak
@pytest.mark.parametrize("case", [case for case in CASES if SOAK or not case.soak], ids=lambda case: case.name)
def test_figures_stay(case, run, request):
    if case.is_of_digits:
        pytest.importorskip("sklearn", reason="needs scikit-learn's images")
    stories = request.getfixturevalue("stories") if case.is_of_stories else None
    computed = rows_of(case.verb, *run(case.name, stories))
    path = FILES / f"{case.name}.tsv"
    if REWRITE:
        keep(case, path, computed)
    differences = compare(read_rows(path.read_text(encoding="utf-8")), computed, RENAMES)
    differences = [one for one in differences if not is_loose(case.name, one.name[0])]
    told = "\n".join(map(str, differences[:SHOWN]))
    assert not differences, f"{len(differences)} of {len(computed)} rows differ:\n{told}"


def keep(case, path, computed):
    """Write a case's rows, and of a new case what was taken first."""
    if path.exists():
        computed = rewritten(read_rows(path.read_text(encoding="utf-8")), computed, RENAMES)
    path.write_text(write_rows(computed, f"patchclamp {' '.join(case.words)}"), encoding="utf-8")
    taken = json.loads(TAKEN.read_text(encoding="utf-8"))
    if case.name not in taken:
        taken = dict(sorted({**taken, case.name: digests(read_rows(path.read_text(encoding="utf-8")))}.items()))
        TAKEN.write_text(json.dumps(taken, indent=0) + "\n", encoding="utf-8")


def test_every_case_has_a_file_and_every_file_a_case():
    assert {path.stem for path in FILES.iterdir()} == set(BY_NAME) == set(json.loads(TAKEN.read_text()))


def test_every_accepted_difference_has_a_cause():
    accepted = read_differences(HERE / "differences.md")
    taken = json.loads(TAKEN.read_text(encoding="utf-8"))
    unlisted = [
        (name, quantity)
        for name in sorted(taken)
        for quantity in changed(taken[name], digests(read_rows((FILES / f"{name}.tsv").read_text(encoding="utf-8"))))
        if not any(fnmatchcase(name, case) and fnmatchcase(quantity, of) for case, of in accepted)
    ]
    assert unlisted == []
