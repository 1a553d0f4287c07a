"""What listens, listens on loopback, by settings made before Ray is imported; no source file of ours loads a pickle."""

import ast
import os
import re
from pathlib import Path

import psutil
import pytest

from cluster import local_nodes
from pipelines.__main__ import main
from pipelines.errors import UserError
from pipelines.runtime.session import start_local
from pipelines.tracking import loopback

CODE = Path(__file__).parents[2]
FORBIDDEN = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
"""Modules that run code from what they read, also as parts of other packages (ray.cloudpickle)."""
REFUSED = {
    *("torch.load", "torch.hub.load", "torch.export.load", "numpy.load", "pandas.read_pickle", "pandas.read_parquet"),
    *(f"pyarrow.parquet.{name}" for name in ("read_table", "read_schema", "read_metadata", "ParquetFile")),
    "pyarrow.parquet.ParquetDataset",
    *("yaml.load", "yaml.safe_load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.safe_load_all"),
    *("eval", "exec", "os.system", "shutil.unpack_archive"),
}
PLAIN = {"allow_pickle": False, "weights_only": True, "shell": False, "trust_remote_code": False}
"""Arguments that have one safe value."""
ALLOWED = {
    "pipelines/storage/parquet.py": {"pyarrow.parquet.ParquetFile"},  # the one place, after the footer was checked
    "pipelines/config/plain_yaml.py": {"yaml.safe_load"},
    "pipelines/model/export.py": {"torch.export.load"},  # of what it has just written
}


USUAL = {"np": "numpy", "pd": "pandas", "pq": "pyarrow.parquet"}
"""What short names mean where no import says otherwise."""
IMPORTS = ("importlib.import_module", "__import__")


def faults(tree: ast.AST) -> set[str]:
    """Imports, calls and arguments that would let data run code."""
    found, meant = set(), USUAL | _meant(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if _forbidden(a.name)}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{a.name}" for a in node.names if not a.name.endswith("Error")}
            found |= {n for n in names if _forbidden(n) or n in REFUSED}
        elif isinstance(node, ast.Attribute):
            found |= {name for name in [_full(node, meant)] if _forbidden(name)}
        elif isinstance(node, ast.Call):
            name, arguments = _full(node.func, meant), {k.arg: k.value for k in node.keywords}
            if name in IMPORTS and isinstance(node.args[0], ast.Constant) and _forbidden(str(node.args[0].value)):
                found.add(str(node.args[0].value))
            if name in REFUSED and not (name == "torch.load" and _is(arguments.get("weights_only"), True)):
                found.add(name)
            found |= {f"{key}=..." for key in PLAIN if key in arguments and not _is(arguments[key], PLAIN[key])}
    return found


def _meant(tree: ast.AST) -> dict[str, str]:
    """Local name -> what it was imported as."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def _full(written: ast.expr, meant: dict[str, str]) -> str:
    """The dotted name of what is called, whatever it was imported as."""
    first, dot, rest = ast.unparse(written).partition(".")
    return meant.get(first, first) + dot + rest


def _forbidden(name: str) -> bool:
    return not name.endswith("Error") and not FORBIDDEN.isdisjoint(name.split("."))


def _is(value: ast.expr | None, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def test_no_source_file_loads_pickles_or_opens_files_past_the_checks():
    files = [path for package in ("ssl_core", "pipelines", "cluster") for path in (CODE / package).rglob("*.py")]
    assert len(files) > 100
    names = {path.relative_to(CODE).as_posix(): faults(ast.parse(path.read_text())) for path in files}
    assert {name: more for name, found in names.items() if (more := found - ALLOWED.get(name, set()))} == {}


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from joblib import load", "torch.load(p)", "np.load(p)", "yaml.load(t, Loader=L)", "eval(t)",
     "read(p, allow_pickle=x)", "f(weights_only=False)", "import torch, dill.source", "from numpy import load",
     "subprocess.run(c, shell=True)", "torch.load(p, weights_only=x)", "pq.read_table(p)", "yaml.safe_load(t)",
     "import ray.cloudpickle", "from ray import cloudpickle", "import ray; ray.cloudpickle.loads(b)",
     "importlib.import_module('pickle')", "from importlib import import_module as i; i('dill.source')",
     "__import__('pickle')", "import torch as t; t.load(p)", "import numpy as n; n.load(p)",
     "from torch import load as l; l(p)", "from torch import hub as h; h.load(p)",
     "from pyarrow.parquet import ParquetFile",
     "import pyarrow.parquet; pyarrow.parquet.read_table(p)"],
)  # fmt: skip
def test_the_scan_sees_what_it_is_for(text):
    assert faults(ast.parse(text))
    assert not faults(ast.parse("from pickle import UnpicklingError; torch.load(p, weights_only=True); yaml.dump(t)"))


def test_whoever_imports_ray_has_its_settings_made_first():
    """Ray reads some of them when it is imported, its authentication among them; pipelines.runtime makes them."""
    files = [path for package in ("pipelines", "cluster") for path in (CODE / package).rglob("*.py")]
    texts = {path.relative_to(CODE).as_posix(): path.read_text() for path in files}
    trees = {name: ast.parse(text) for name, text in texts.items() if re.search(r"\bray\b", text)}
    users = {name: tree for name, tree in trees.items() if any(_imports("ray", node) for node in ast.walk(tree))}
    assert len(users) > 10
    assert [n for n, t in users.items() if not n.startswith("pipelines/runtime/") and not _settings_first(t)] == []


def _settings_first(tree: ast.Module) -> bool:
    """Whether a file imports pipelines.runtime at its top, and Ray only after that or in functions."""
    known = (name for node in tree.body for name in ("pipelines.runtime", "ray") if _imports(name, node))
    return next(known, "") == "pipelines.runtime"


def _imports(name: str, node: ast.AST) -> bool:
    """Whether a statement imports a module, or something in it."""
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        found = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        found = []
    return any(f"{each}.".startswith(f"{name}.") for each in found)


@pytest.mark.parametrize(
    ("text", "made"),
    [("import pipelines.runtime; import ray", True),
     ("from pipelines.runtime import session; from ray import tune", True),
     ("from pipelines import runtime\ndef f(): import ray", True), ("def f(): import ray", False),
     ("import ray; import pipelines.runtime", False), ("def f(): import pipelines.runtime", False),
     ("import pipelines.runtimes; import ray", False)],
)  # fmt: skip
def test_the_order_is_seen(text, made):
    assert _settings_first(ast.parse(text)) == made


def test_hosts():
    assert all(loopback.is_loopback(host) for host in ("127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]"))
    assert not any(loopback.is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.7", "example.org", ""))
    assert loopback.consent("127.0.0.1", 5000, False, "read") is None
    assert loopback.consent("0.0.0.0", 5000, True, "read it") == (
        "EXPOSED: 0.0.0.0:5000 is open to the network; whoever reaches it can read it."
    )


def test_the_pages_open_elsewhere_only_with_consent(capsys, tmp_path):
    assert main(["ui", "digits", "--set", f"storage={tmp_path}", "--host", "0.0.0.0"]) == 1
    said = capsys.readouterr().err
    assert "--host 0.0.0.0: whoever reaches port 5000" in said and "change and delete every run" in said
    assert "--expose" in said and "ssh -L" in said


@pytest.mark.usefixtures("ray_session")
def test_ray_listens_on_loopback_alone():
    begun = [(p, " ".join(p.cmdline())) for p in psutil.Process().children(recursive=True)]
    family = [psutil.Process(), *(p for p, line in begun if "/ray/" in line or "ray::" in line)]  # no gloo workers
    assert any("gcs_server" in process.name() for process in family)
    listening = [(p.name(), c.laddr) for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 5
    assert [(name, address) for name, address in listening if "127.0.0.1" not in address.ip] == []


STARTS = {
    "a Ray of our own": lambda folder: start_local(1, 256 << 20),
    "local nodes": lambda folder: local_nodes.up(folder, num_nodes=1, cpus_per_node=1),
    "one more node": lambda folder: local_nodes.join(folder, cpus=1),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_ray_does_not_start_without_a_secret(start, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UserError, match="could run code as you; unset it"):
        start(tmp_path)
    token = tmp_path / "token"
    token.write_text("t" * 64)
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with pytest.raises(UserError, match="others may read the token"):
        start(tmp_path)
    assert list(tmp_path.iterdir()) == [token], "nothing was begun"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
