"""The HTTP API keeps to its own description, whatever is sent: requests are made from /openapi.json by schemathesis."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation
from site_client import UNFINISHED, ApiClient, served

from dfutils.app.access import ApiKeys
from dfutils.app.limits import ServerLimits

KEY = "the-key-of-the-fuzzing-test"
LIMITS = ServerLimits(upload_megabytes=1, upload_seconds=5, per_minute=1_000_000)


@pytest.fixture(scope="module")
def server():
    with served(None, LIMITS, page=False, api=True, keys=ApiKeys([KEY])) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    client = ApiClient(server.address, key=KEY)
    client.verdict(b"text")  # the detector is loaded: without it there are answers 503
    client.known = client.send(b"text", wait=60).headers["location"].rpartition("/")[2]
    yield client
    client.http.close()


OPERATIONS = [
    ("/v1/verdicts", "POST"),
    ("/v1/verdicts/{verdict_id}", "GET"),
    ("/v1/verdicts/{verdict_id}", "DELETE"),
    *((path, "GET") for path in ("/v1/detector", "/healthz", "/metrics")),
]


@pytest.fixture(scope="module")
def description(server, client):
    """What the API says of itself, asked for once the detector is loaded.

    Schemathesis imports parts of itself when they are needed, pytest parses them to rewrite their assertions, and NumPy
    parses the headers of a detector's arrays: CPython 3.11 can fail when two threads do so at once
    (https://github.com/python/cpython/issues/106905).
    """
    return schemathesis.openapi.from_url(f"{server.address}/openapi.json")


def test_every_operation_is_tried(description):
    operations = [one.ok() for one in description.get_all_operations()]
    assert {(one.path, one.method.upper()) for one in operations} == set(OPERATIONS)


@pytest.mark.filterwarnings(UNFINISHED)
@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        (path, method, mode)
        for path, method in OPERATIONS
        for mode in GenerationMode
        if path != "/healthz" or mode == GenerationMode.POSITIVE  # there is no wrong way to ask for that
    ],
)
def test_every_answer_is_as_described(path, method, mode, description, client):
    """Schemathesis checks status, content type, body and the need of a key against the description."""
    answers = Counter()

    @settings(
        max_examples=60 if method == "POST" else 20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=description[path][method].as_strategy(generation_mode=mode))
    def try_one(case):
        if mode == GenerationMode.POSITIVE and method == "GET" and case.path_parameters and answers.total() % 2:
            case.path_parameters["verdict_id"] = client.known
        changed = case.meta.components.get(ParameterLocation.HEADER)
        is_without_key = changed is not None and changed.mode == GenerationMode.NEGATIVE  # a key would make it right
        headers = {} if is_without_key else {"Authorization": f"Bearer {KEY}"}
        answer = case.call_and_validate(base_url=client.address, headers=headers)
        answers[answer.status_code] += 1

    try_one()
    is_unknown = method == "DELETE"  # of a key that was made up
    if mode == GenerationMode.POSITIVE and not is_unknown:
        assert answers[200] + answers[202] >= answers.total() / 2, answers
    else:
        assert sum(count for status, count in answers.items() if status >= 400) > 0, answers


def test_after_all_that_the_server_is_well(server, client):
    assert client.verdict(b"text")["reason"] == "unreadable"
    assert client.http.get("/healthz").json() == {"status": "ok"}
    client.wait_for("dfutils_queue_files", 0)
    assert list(server.site.uploads.folder.iterdir()) == []
    assert [name for name in client.figures() if name[0] == "dfutils_http_requests_total" and name[-1] == "500"] == []
