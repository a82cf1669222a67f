"""Two nodes of Ray on this machine: the bytes of one process, though a worker is killed in the middle of a piece."""

import copy
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest

import patchclamp as pc
from patchclamp.core.errors import PatchclampError
from patchclamp.decompose import TextSource
from patchclamp.engines import plan
from patchclamp.engines.ray_workers import RayEngine
from patchclamp.record import record_corpus, stream, survey_corpus

ray = pytest.importorskip("ray", reason="the extra `scale` is not installed")
SITES = ("blocks.0.mlp.act", "blocks.1.mlp.act")
LONG = pytest.mark.skipif(os.environ.get("PATCHCLAMP_SOAK") != "1", reason="workers take seconds to start: make soak")
# Ray's own processes outlive the handles that it keeps of them, and some of its sockets are closed with the process.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def nodes():
    """Start two nodes with a processor each, reached by the loopback address alone."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray replaces 127.0.0.1 by an address of the network; this one is a loopback address too.
    size = {
        "num_cpus": 1,
        "object_store_memory": 100 * 2**20,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.2",
    }
    cluster = Cluster(initialize_head=True, head_node_args=size)
    cluster.add_node(**size)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def engine(nodes):
    with RayEngine(address=nodes.address, workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    draw = random.Random(0)
    names = ["Mary", "Tom", "John", "Anna"]
    file.write_text("\n".join(f"{draw.choice(names)} gave a book to {draw.choice(names)}." for _ in range(400)))
    return file


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(plan, "LEAST_BATCHES", 2)
    monkeypatch.setattr(stream, "SHARD_BYTES", 2**17)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def deadly(model, flag: Path, *, always: bool = False):
    """Return a copy of a model whose process dies in the middle of a piece, once; or each at its first batch."""

    class Deadly(type(model)):
        seen = 0

        def watch(self, stimuli, sites, see):
            type(self).seen += 1
            if os.getpid() != born and (always or (type(self).seen == 4 and not flag.exists())):
                flag.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            super().watch(stimuli, sites, see)

    born = os.getpid()
    made = copy.copy(model)
    made.__class__ = Deadly
    return made


def test_two_nodes_record_and_survey_with_the_bytes_of_one_process(engine, organism, text, tmp_path):
    model, corpus = organism("language-gpt2"), pc.Corpus(text, window=16)
    at = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert len(at) == 2
    for verb in (record_corpus, survey_corpus):
        for where in (None, engine):
            verb(model, corpus, SITES, tmp_path / f"{verb.__name__}-{where is None}", batch_size=4, engine=where)
        here, there = (contents(tmp_path / f"{verb.__name__}-{one}") for one in (True, False))
        assert here == there
    assert len({ray.get(seat.node.remote()) for seat in (one.actor for one in engine._pool)}) == 2


@pytest.mark.parametrize("verb", [record_corpus, pytest.param(survey_corpus, marks=[LONG, pytest.mark.soak])])
def test_a_worker_that_is_killed_costs_no_sample_and_doubles_none(engine, organism, text, tmp_path, verb):
    model, corpus, flag = organism("language-gpt2"), pc.Corpus(text, window=16), tmp_path / "killed"
    verb(model, corpus, SITES, tmp_path / "whole", batch_size=4)
    before = engine.deaths
    found = verb(deadly(model, flag), corpus, SITES, tmp_path / "run", batch_size=4, engine=engine)
    assert flag.exists(), "no worker died"
    assert engine.deaths == before + 1
    assert contents(tmp_path / "whole") == contents(tmp_path / "run")
    assert found.bundle.entries[-1]["tokens"] == sum(len(s) for batch in pc.read_corpus(model, corpus) for s in batch)


def test_rows_for_training_are_those_of_one_process(engine, organism, text):
    made = [
        list(TextSource(organism("language-gpt2"), pc.Corpus(text, window=16), engine=where).chunks(SITES, 20))
        for where in (None, engine)
    ]
    assert len(made[0]) == len(made[1]) > 3
    assert all(np.array_equal(a[site], b[site]) for a, b in zip(*made, strict=True) for site in SITES)


@LONG
@pytest.mark.soak
def test_a_piece_that_kills_every_worker_ends_the_run_with_what_was_committed(engine, organism, text, tmp_path):
    model, corpus = organism("language-gpt2"), pc.Corpus(text, window=16)
    broken = deadly(model, tmp_path / "killed", always=True)
    with pytest.raises(PatchclampError, match="died over stimuli"):
        record_corpus(broken, corpus, SITES, tmp_path / "run", batch_size=4, engine=engine)
    record_corpus(model, corpus, SITES, tmp_path / "run", batch_size=4, engine=engine, resume=True)
    record_corpus(model, corpus, SITES, tmp_path / "whole", batch_size=4)
    assert contents(tmp_path / "whole") == contents(tmp_path / "run")


def test_a_refusal_of_a_worker_is_raised_as_it_is(engine, organism, text, tmp_path):
    def refuse() -> None:
        raise PatchclampError(expected="a model", got="nothing", remedy="Look.")

    model = copy.copy(organism("language-gpt2"))
    engine.share(model, refuse)
    with pytest.raises(PatchclampError, match="expected a model; got nothing"):
        survey_corpus(model, pc.Corpus(text, window=16), SITES, tmp_path / "run", engine=engine)
