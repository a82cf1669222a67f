"""Whatever the schema allows to be asked, and much that it does not, the API answers as the schema says."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchclamp.atlas.serve.server import guard_atlas

schemathesis = pytest.importorskip("schemathesis", reason="needs the package schemathesis, of the dev group")


@pytest.fixture(scope="module")
def operations(seeded_atlas):
    schema = schemathesis.openapi.from_asgi(
        "/api/openapi.json", guard_atlas(seeded_atlas, hosts=None, model="organism:cat")
    )
    return [found.ok() for found in schema.get_all_operations()]


def test_every_operation_is_asked(operations):
    assert len(operations) == 50


@settings(suppress_health_check=list(HealthCheck), max_examples=100)
@given(data=st.data())
def test_answers_are_never_a_5xx_and_fit_their_schema(operations, data):
    operation = data.draw(st.sampled_from(operations))
    mode = data.draw(st.sampled_from(list(schemathesis.GenerationMode)))
    case = data.draw(operation.as_strategy(generation_mode=mode))
    # By chance alone no unit that exists would ever be asked for.
    if "key" in (case.path_parameters or {}) and data.draw(st.booleans()):
        case.path_parameters["key"] = f"cat/blocks.0.mlp.act/neurons/{data.draw(st.integers(0, 15))}"
    # A generated text has no word of the organism's, and as many tokens and random sets as may be take their time.
    if isinstance(case.body, dict) and isinstance(case.body.get("text"), str):
        case.body |= {"text": "the old cat", "new_tokens": 3, "controls": 20}
    answer = case.call()
    assert answer.status_code in (200, 400, 403, 404, 405, 414, 415), answer.text
    if answer.status_code == 200 and answer.headers["content-type"][0].startswith("text/event-stream"):
        events = [block for block in answer.text.split("\n\n") if block.startswith("event: ")]
        assert events[-1].startswith(("event: finished", "event: refused"))
    elif answer.status_code == 200:
        case.validate_response(answer, checks=[schemathesis.checks.response_schema_conformance])
    else:
        assert set(answer.json()["error"]) == {"expected", "got", "remedy"}
