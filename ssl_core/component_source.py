"""What a component's file says without running all of it: its docstring, and its Config without importing torch.

torch takes two seconds to import, a config none, and every component's file imports it for the lines around the
config. So a loader runs only the statements of the file that the Config reads. It makes a second class: enough to
check keys and values and to print them, not to build from.
"""

import ast
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType

from ssl_core.config import Config


def summary(package: str, name: str) -> str:
    """The first line of the docstring of `package/name.py`'s component."""
    return (ast.get_docstring(_component(_tree(package, name))) or "").split("\n")[0]


@cache
def config(package: str, name: str) -> type[Config]:
    """The Config of `package/name.py`, without what the rest of that file imports."""
    loader = _ConfigAlone(f"{package}.{name}", _path(package, name))
    spec = spec_from_file_location(loader.name, loader.path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    found: type[Config] = vars(module)[_component(_tree(package, name)).name].Config
    return found


class _ConfigAlone(SourceFileLoader):
    """Runs a component's file as if it held the Config, and what the Config refers to, alone."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(_cut(ast.parse(self.get_data(self.path))), self.path)


def _cut(tree: ast.Module) -> ast.Module:
    component = _component(tree)
    component.body = [node for node in component.body if _is_config(node)]
    component.bases, component.keywords, component.decorator_list = [], [], []
    kept: list[ast.stmt] = [component]
    while more := [node for node in tree.body if node not in kept and _binds(node) & _reads(kept)]:
        kept += more
    return ast.Module([node for node in tree.body if node in kept], [])


def _reads(nodes: list[ast.stmt]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _binds(node: ast.stmt) -> set[str]:
    """The names that a statement of a module gives."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return {node.name}
    inner = ast.walk(node)
    return {n.id for n in inner if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}.union(
        *(_binds(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))
    )


def _component(tree: ast.Module) -> ast.ClassDef:
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and any(map(_is_config, node.body))]
    return found


def _is_config(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == "Config"


def _tree(package: str, name: str) -> ast.Module:
    return ast.parse(Path(_path(package, name)).read_text("utf-8"))


def _path(package: str, name: str) -> str:
    spec = find_spec(f"{package}.{name}")
    assert spec is not None and spec.origin is not None
    return spec.origin
