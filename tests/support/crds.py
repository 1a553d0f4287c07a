"""An object against the schema of its CustomResourceDefinition, as an API server checks it, but for this:

An API server drops fields that the schema does not know, in silence; here they are errors.
"""

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

Tree = dict[str, Any]


def load(folder: Path) -> dict[tuple[str, str], Tree]:
    """(apiVersion, kind) -> schema, of every definition in the YAML files of a folder."""
    found: dict[tuple[str, str], Tree] = {}
    for path in sorted(folder.glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            if crd and crd.get("kind") == "CustomResourceDefinition":
                group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
                for version in crd["spec"]["versions"]:
                    found[f"{group}/{version['name']}", kind] = version["schema"]["openAPIV3Schema"]
    return found


def faults(schema: Tree, tree: Tree) -> list[str]:
    """One line per fault: where it is and what is wrong."""
    found = Draft202012Validator(_closed(schema)).iter_errors(tree)
    return sorted(f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found)


def _closed(schema: Any) -> Any:
    """The same, where an object has no properties but those that are listed."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # under `properties` a name may be anything, also that of a keyword
    closed = {
        key: {name: _closed(part) for name, part in value.items()} if key == "properties" else _closed(value)
        for key, value in schema.items()
    }
    opened = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    return closed if opened or "properties" not in schema else {**closed, "additionalProperties": False}
