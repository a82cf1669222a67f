"""Settings of circuit-tracer that say nothing are refused in three parts, whatever is wrong with them."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from patchclamp.core.errors import PatchclampError
from patchclamp.decompose.formats import circuit_tracer
from patchclamp.decompose.formats.files import whole_k

SET = "model_kind: transcoder_set\n"


@pytest.fixture
def folder(tmp_path):
    shapes = {"W_enc": (3, 4), "b_enc": 3, "W_dec": (3, 4), "b_dec": 4}
    save_file({n: np.ones(s, np.float32) for n, s in shapes.items()}, tmp_path / "layer_0.safetensors")
    return tmp_path


@pytest.mark.parametrize("line", ["a: !!timestamp zz", "a: !!bool zz", "a: !!int zz", "activation: topk\nk: .inf"])
def test_values_of_another_type_than_their_tag_are_refused(folder, line):
    (folder / "config.yaml").write_text(SET + line)
    with pytest.raises(PatchclampError):
        circuit_tracer.read(folder)


@pytest.mark.parametrize("files", ["5", "{a: b}", "../../etc"])
def test_files_elsewhere_are_named_whatever_the_list_is(tmp_path, files):
    (tmp_path / "config.yaml").write_text(f"{SET}transcoders: {files}\n")
    with pytest.raises(PatchclampError) as refused:
        circuit_tracer.read(tmp_path)
    assert files.strip("{}").split(":")[0] in refused.value.got


@pytest.mark.parametrize("k", [float("inf"), float("nan"), np.array([np.nan]), 2.5, True, "3"])
def test_no_whole_k_is_refused(k):
    with pytest.raises(PatchclampError, match="k = "):
        whole_k(k, "any")
