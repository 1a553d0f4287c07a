"""What listens, listens on loopback; no source file of ours knows how to load a pickle."""

import ast
import os
from pathlib import Path

import psutil
import pytest

from pipelines import exposure
from pipelines.__main__ import main
from pipelines.errors import UserError
from pipelines.stages.engine import start_local

CODE = Path(__file__).parents[2]
FORBIDDEN = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
"""Modules that run code from what they read."""
REFUSED = {
    *("torch.load", "torch.hub.load", "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"),
    *("eval", "exec", "os.system", "shutil.unpack_archive"),
}
PLAIN = {"allow_pickle": True, "weights_only": False, "shell": True, "trust_remote_code": True}


def faults(tree: ast.AST) -> list[str]:
    """Imports, calls and arguments that would let data run code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] in FORBIDDEN]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
            found += [n for n in names if n.partition(".")[0] in FORBIDDEN or n in REFUSED]
        elif isinstance(node, ast.Call):
            found += [ast.unparse(node.func)] if ast.unparse(node.func) in REFUSED else []
            found += [f"{k.arg}=..." for k in node.keywords if k.arg in PLAIN and not _is(k.value, not PLAIN[k.arg])]
    return found


def _is(value: ast.expr, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def test_no_source_file_loads_pickles_or_runs_text():
    files = [path for package in ("ssl_core", "pipelines", "cluster") for path in (CODE / package).rglob("*.py")]
    assert len(files) > 100
    assert {str(path): found for path in files if (found := faults(ast.parse(path.read_text())))} == {}


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from joblib import load", "torch.load(p)", "np.load(p)", "yaml.load(t, Loader=L)", "eval(t)",
     "read(p, allow_pickle=x)", "f(weights_only=False)", "import torch, dill.source", "from numpy import load",
     "subprocess.run(c, shell=True)"],
)  # fmt: skip
def test_the_scan_sees_what_it_is_for(text):
    assert faults(ast.parse(text))


def test_hosts():
    assert all(exposure.is_loopback(host) for host in ("127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]"))
    assert not any(exposure.is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.7", "example.org", ""))
    assert exposure.consent("127.0.0.1", 5000, False, "read") is None
    assert exposure.consent("0.0.0.0", 5000, True, "read it") == (
        "EXPOSED: 0.0.0.0:5000 is open to the network; whoever reaches it can read it."
    )


def test_the_pages_open_elsewhere_only_with_consent(capsys, tmp_path):
    assert main(["ui", "digits", "--set", f"storage={tmp_path}", "--host", "0.0.0.0"]) == 1
    said = capsys.readouterr().err
    assert "--host 0.0.0.0: whoever reaches port 5000" in said and "change and delete every run" in said
    assert "--expose" in said and "ssh -L" in said


@pytest.mark.usefixtures("ray_session")
def test_ray_listens_on_loopback_alone():
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    assert any("gcs_server" in process.name() for process in family)
    listening = [(p.name(), c.laddr) for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 5
    assert [(name, address) for name, address in listening if "127.0.0.1" not in address.ip] == []


def test_ray_does_not_start_without_a_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UserError, match="could run code as you; unset it"):
        start_local(1, 256 << 20)
    token = tmp_path / "token"
    token.write_text("t" * 64)
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with pytest.raises(UserError, match="others may read the token"):
        start_local(1, 256 << 20)
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
