"""What every test may count on: no network, one thread, repeatable examples, and the optional shared data."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

import chat_server
import groups
import shared_models
from untested import say_untested

# Set before anything imports transformers or torch: both read these once. Subprocesses inherit them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# pytest-xdist workers would otherwise each start a thread per core; one thread also keeps sums in one order.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SOAK = os.environ.get("PATCHCLAMP_SOAK") == "1"
THIN = os.environ.get("PATCHCLAMP_THIN") == "1"

# Wall-clock deadlines fail on a loaded machine and say nothing about the code.
settings.register_profile("short", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("soak", max_examples=5000, deadline=None, print_blob=True)
settings.load_profile("soak" if SOAK else "short")


def pytest_terminal_summary(terminalreporter) -> None:
    """Say in one line what was not tested for want of a browser, and the command that brings it."""
    if line := say_untested(str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(line, yellow=True, bold=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items) -> None:
    """Group tests for several processes, which take the longest folders first; leave out what need not be seen."""
    if THIN:
        drop_repeated(config, items)
    if config.getoption("loadgroup", False):
        items.sort(key=lambda item: groups.order_of(place_of(item)))
        names = groups.subjects()
        for item in items:
            # Tests that draw from one generator of their file need its order, and so one process.
            shared = frozenset() if hasattr(getattr(item, "module", None), "RNG") else names
            item.add_marker(pytest.mark.xdist_group(groups.group_of(place_of(item), *_sharing_of(item), shared)))


def drop_repeated(config, items: list) -> None:
    """Leave out cases whose values other cases of the same test have too: for checks of shapes alone."""
    functions: dict = {}
    for item in items:
        functions.setdefault((item.path, getattr(item, "originalname", item.name)), []).append(item)
    kept = set()
    for cases in functions.values():
        given = [getattr(getattr(case, "callspec", None), "params", {}) for case in cases]
        kept |= {cases[number] for number in groups.thin(given, groups.subjects())}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node, ids) -> None:
    """Refuse to go on where pytest-xdist lost the groups: every process would make everything anew."""
    if node.config.getoption("dist") == "loadgroup":
        groups.check_ids(ids)


def place_of(item) -> str:
    """Return the file that a test lies in, seen from this folder or from the repository."""
    return item.path.resolve().relative_to(ROOT).as_posix().removeprefix("tests/")


def _sharing_of(item) -> tuple[dict, set[str]]:
    """Return what a test is parametrised with, and the scopes of all other fixtures that it uses."""
    given = getattr(getattr(item, "callspec", None), "params", {})
    known = getattr(item, "_fixtureinfo", None)
    fixtures = known.name2fixturedefs if known else {}
    return given, {found[-1].scope for name, found in fixtures.items() if name not in given}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Let the last test of a file fail where the file left a shared model otherwise than it was."""
    result = yield
    if nextitem is None or nextitem.path != item.path:
        changed = shared_models.drop_changed()
        assert changed == [], f"{place_of(item)} changed models that other tests use; it must make its own"
    return result


@pytest.fixture(scope="session")
def organism():
    """Give an organism by name, one for all tests: whoever changes it puts it back, or builds another."""
    from patchclamp.loaders import load

    return lambda name: shared_models.share(lambda: load(f"organism:{name}"), "organism", name)


@pytest.fixture(scope="session")
def cat(organism):
    """The planted circuit of which every unit is known."""
    return organism("cat")


@pytest.fixture(scope="session")
def models(tiny_language_model):
    """The families' tiny models by name, likewise one for all tests; `tiny_language_model` makes others."""

    class Models(dict):
        def __missing__(self, name):
            return shared_models.share(lambda: tiny_language_model(name), "family", name)

    return Models()


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


@pytest.fixture(scope="session")
def tiny_language_model():
    """Make a family's tiny random model with a tokenizer of its 61 tokens: the words w0 … w55, and five others."""

    def make(name: str, bare=None):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        from patchclamp.subjects.families.spec import family
        from patchclamp.subjects.language import LanguageModel

        tokens = ["<bos>", "<unk>", *(f"▁w{i}" for i in range(56)), "▁user:", "<pad>", "<eos>"]
        rules = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
        rules.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split("\n", "removed"), pre_tokenizers.Metaspace(prepend_scheme="always")]
        )
        rules.decoder = decoders.Metaspace()
        rules.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=rules, bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", pad_token="<pad>"
        )
        tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<eos>{% endfor %}"
        return LanguageModel(bare or family(name).tiny(), tokenizer, name=f"tiny-{name}")

    return make


@pytest.fixture(scope="session")
def seeded_atlas(tmp_path_factory) -> Path:
    """An atlas of `organism:cat` with descriptions, one of them wrong on purpose, and one explained answer."""
    from seeded import bake_seeded

    return bake_seeded(tmp_path_factory.mktemp("seeded"))


@pytest.fixture(scope="session")
def language_model():
    """Serve OpenAI's chat completions from a process of its own; see ``chat_server``."""
    with chat_server.serve() as server:
        yield server
