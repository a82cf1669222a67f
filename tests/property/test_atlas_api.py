"""Whatever the schema allows to be asked, and much that it does not, the API answers as the schema says."""

import pytest

from patchclamp.atlas.serve import guarded

schemathesis = pytest.importorskip("schemathesis", reason="needs the package schemathesis, of the dev group")


@pytest.fixture(scope="module")
def api(seeded_atlas):
    return schemathesis.openapi.from_asgi("/api/openapi.json", guarded(seeded_atlas, hosts=None))


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
def test_answers_are_never_a_5xx_and_fit_their_schema(case):
    answer = case.call()
    assert answer.status_code < 500, answer.text
    assert answer.status_code in (200, 400, 404, 405), answer.text
    if answer.status_code == 200:
        case.validate_response(answer, checks=[schemathesis.checks.response_schema_conformance])
    else:
        assert set(answer.json()["error"]) == {"expected", "got", "remedy"}
