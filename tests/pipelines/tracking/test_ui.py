"""`selfray ui` takes MLflow's server with it, whichever signal ends it, and is quiet."""

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.support.mlflow_server import free_port

pytestmark = pytest.mark.timeout(300)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def serving(port: int) -> list[int]:
    """Processes that were started for this port, or listen on it."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(port) in words or f"--port={port}" in words:
            found.append(process.pid)
    return found


SLOW = [pytest.param(sent, marks=pytest.mark.slow) for sent in (signal.SIGINT, signal.SIGHUP)]


@pytest.mark.parametrize("sent", [signal.SIGTERM, *SLOW])
def test_the_server_ends_with_the_command(tmp_path: Path, sent: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-m", "pipelines", "ui", "digits", "--set", f"storage={tmp_path / 'new'}"]
    ui = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    over = time.monotonic() + 200
    while not answers(port):
        assert ui.poll() is None and time.monotonic() < over, ui.communicate()
        time.sleep(0.2)
    assert (tmp_path / "new" / "mlflow.db").exists() and len(serving(port)) > 1
    ui.send_signal(sent)
    said, error = ui.communicate(timeout=60)
    assert ui.returncode == 130 and not answers(port) and serving(port) == []
    assert said == f"MLflow: http://127.0.0.1:{port}/#/experiments?workflowType=machine_learning  (Ctrl-C ends it)\n"
    lines = [
        line for line in error.splitlines() if not re.match(r"selfray: |\[MLflow\] Security middleware enabled", line)
    ]
    assert lines == [], error
