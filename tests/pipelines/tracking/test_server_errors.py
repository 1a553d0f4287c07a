"""A server that does not answer, in words."""

import pytest

from pipelines.tracking.server_errors import in_words

POOL = (
    "HTTPConnectionPool(host='127.0.0.1', port=9): Max retries exceeded with url: /api/2.0/mlflow/runs/get (Caused by "
)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (POOL + "NewConnectionError('<X object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection "
         "refused'))", "the server does not answer (Connection refused)"),
        (POOL + "ReadTimeoutError(\"read timed out. (read timeout=5)\"))", "the server does not answer (timed out)"),
        ("('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
         "the server does not answer (Remote end closed connection)"),
        ("RESOURCE_DOES_NOT_EXIST: no run 3", "RESOURCE_DOES_NOT_EXIST: no run 3"),
    ],
)  # fmt: skip
def test_a_lost_connection_is_said_in_words(line, words):
    assert in_words(line) == words
