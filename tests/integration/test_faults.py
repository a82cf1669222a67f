"""Recording and survey are cut off at every commit point, before, in the middle of and after it, and go on."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from patchclamp.core import bundle
from patchclamp.core.corpus import Corpus
from patchclamp.core.errors import PatchclampError
from patchclamp.core.site import Site
from patchclamp.record import record_corpus, stream, survey, survey_corpus

SITES = ("blocks.0.mlp.act", "blocks.1.attn.z")


class Cut(BaseException):
    """Ends a run as a signal would: nothing that catches Exception or OSError sees it."""


class Faults:
    """Count every call that commits something, and cut the run off at the k-th.

    Args:
        at: number of the call, from 0; None only counts.
        when: ``before`` the call, ``torn`` in its middle (a file half written, a line half flushed), or ``after`` it.
    """

    def __init__(self, patch: pytest.MonkeyPatch, at: int | None, when: str) -> None:
        self.calls, self.at, self.when = 0, at, when
        for owner, name in ((os, "fsync"), (os, "replace"), (Path, "replace"), (Path, "unlink"), (bundle, "save_file")):
            patch.setattr(owner, name, self.wrapped(name, getattr(owner, name)))

    def wrapped(self, name, bare):
        def call(*args, **kwargs):
            mine = self.calls == self.at
            self.calls += 1
            if mine and self.when != "after":
                if self.when == "torn":
                    self.tear(name, bare, args)
                raise Cut
            result = bare(*args, **kwargs)
            if mine:
                raise Cut
            return result

        return call

    def tear(self, name, bare, args):
        """Leave on disk what a power cut may leave: half of what was written, and what safetensors writes first."""
        if name == "save_file":
            bare(*args)
            whole = Path(args[1]).read_bytes()
            Path(args[1]).write_bytes(whole[: len(whole) // 2])
            Path(args[1]).with_name(".tmpZ9x8Y7").write_bytes(whole[:9])
        elif name == "fsync":
            file = Path(os.readlink(f"/proc/self/fd/{args[0]}"))
            if file.is_file():
                lines = file.read_bytes()
                kept = max(lines.rstrip(b"\n").rfind(b"\n") + 1, 0)
                os.truncate(file, (kept + len(lines)) // 2)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def setting(tiny_language_model, tmp_path_factory):
    """Return a two-layer model and a text that fills five windows of eight tokens."""
    folder = tmp_path_factory.mktemp("faults")
    words = np.random.default_rng(0).integers(56, size=33)
    (folder / "text.txt").write_text(" ".join(f"w{i}" for i in words))
    model, answers = tiny_language_model("gpt2"), {}
    bare = model.run

    def answer(batch, **options):
        shown = tuple(s.id for s in batch)
        answers[shown] = answers.get(shown) or bare(batch, **options)
        return answers[shown]

    # The network answers from memory: what is tested here is the disk.
    model.run = answer
    return model, folder / "text.txt"


@pytest.fixture(params=["record", "survey"])
def run(request, setting, monkeypatch):
    """Return a function that records or surveys into a folder, with several shards or a checkpoint after each batch."""
    model, text = setting
    monkeypatch.setattr(stream, "SHARD_BYTES", 3000)
    monkeypatch.setattr(survey, "N_SAMPLE", 20)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # the machine stays on: only the order of calls matters
    if request.param == "record":
        return lambda out, **more: record_corpus(model, Corpus(text, window=8), SITES, out, batch_size=2, **more)
    options, corpus = {"batch_size": 2, "checkpoint_s": 0.0}, Corpus(text, window=8, max_tokens=24)
    return lambda out, **more: survey_corpus(model, corpus, SITES, out, **options, **more)


def cut_off(run, out, at, when, **more) -> bool:
    """Run until the fault; say whether there was one."""
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, at, when)
        try:
            run(out, **more)
        except Cut:
            return True
        assert faults.calls <= at
        return False


@pytest.mark.parametrize("when", ["before", "torn", "after"])
def test_a_run_cut_off_at_any_commit_point_resumes_to_the_same_bytes(run, when, tmp_path):
    run(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert len(whole) > 4
    k = 0
    while cut_off(run, tmp_path / str(k), k, when):
        run(tmp_path / str(k), resume=True)
        assert contents(tmp_path / str(k)) == whole, f"cut off {when} call {k}"
        k += 1
    assert k >= 20
    assert contents(tmp_path / str(k)) == whole


@pytest.mark.parametrize("when", ["before", "torn", "after"])
def test_a_resume_that_is_cut_off_itself_resumes_to_the_same_bytes(run, when, tmp_path):
    run(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    assert cut_off(run, tmp_path / "half", 14, when)
    k = 0
    while True:
        shutil.copytree(tmp_path / "half", tmp_path / str(k))
        if not cut_off(run, tmp_path / str(k), k, when, resume=True):
            break
        run(tmp_path / str(k), resume=True)
        assert contents(tmp_path / str(k)) == whole, f"resume cut off {when} call {k}"
        k += 1
    assert k >= 10


def test_a_whole_run_resumed_is_left_as_it_is(run, tmp_path):
    run(tmp_path / "out")
    before = contents(tmp_path / "out")
    run(tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("call", ["save_file", "fsync"])
def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(run, call, tmp_path):
    run(tmp_path / "whole")
    k = 0
    while True:
        out = tmp_path / f"{call}{k}"
        with pytest.MonkeyPatch.context() as patch:
            owner = bundle if call == "save_file" else os
            patch.setattr(owner, call, full_at(k, getattr(owner, call)))
            problem = refusal(run, out)
        if problem is None:
            break
        assert problem.got == "a full disk"
        assert "--resume" in problem.remedy
        assert not [name for name in contents(out) if name.endswith(".part")]
        run(out, resume=True)
        assert contents(out) == contents(tmp_path / "whole"), f"{call} {k}"
        k += 1
    assert k >= 3


def refusal(run, out):
    try:
        run(out)
    except PatchclampError as problem:
        return problem


def full_at(k, bare):
    left = iter(range(k, -1, -1))

    def call(*args, **kwargs):
        if next(left, 1) == 0:
            raise OSError(28, "No space left on device")
        return bare(*args, **kwargs)

    return call


def test_a_run_that_cannot_fit_is_refused_before_the_first_forward_and_leaves_nothing(
    run, setting, tmp_path, monkeypatch
):
    monkeypatch.setattr("patchclamp.record.run.free_bytes", lambda _path: 100)
    monkeypatch.setattr(setting[0], "run", lambda *_args, **_more: pytest.fail("a forward ran"))
    with pytest.raises(PatchclampError, match="free for") as caught:
        run(tmp_path / "out")
    assert "--max-tokens" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_what_is_recorded_already_counts_when_a_run_goes_on_with_little_room(run, tmp_path, monkeypatch):
    run(tmp_path / "whole")
    assert cut_off(run, tmp_path / "out", 14, "after")
    with_room = max(size(tmp_path / "whole"), survey.disk_bytes([Site("a", "a", 160)]))
    monkeypatch.setattr("patchclamp.record.run.free_bytes", lambda _path: with_room - size(tmp_path / "out"))
    run(tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
