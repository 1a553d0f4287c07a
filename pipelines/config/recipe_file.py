"""Where a recipe lies: a file of the user's, or one that ships."""

from difflib import get_close_matches
from pathlib import Path

from pipelines.errors import UserError

FOLDER = Path(__file__).parents[1] / "recipes"


def shipped() -> dict[str, Path]:
    """Name -> file of every recipe that ships, in order."""
    return {path.stem: path for path in sorted(FOLDER.rglob("*.yaml"))}


def find(recipe: str | Path) -> Path:
    """A file of that path, or the shipped recipe of that name; a folder of the same name hides neither.

    Raises:
        UserError: there is neither; the nearest name is suggested.
    """
    path, known = Path(recipe), shipped()
    if path.exists() and not path.is_dir():
        return path
    if str(recipe) in known:
        return known[str(recipe)]
    if path.is_dir():
        raise UserError(f"recipe {recipe}: is a folder; give a YAML file in it, or the name of a shipped recipe")
    if near := _near(path):
        raise UserError(f"recipe {recipe}: no such file; did you mean {near}?")
    raise UserError(f"recipe {recipe}: no such file; `selfray list` shows what ships: {', '.join(known)}")


def _near(path: Path) -> str | None:
    """A file beside it, or a shipped recipe, of nearly that name."""
    beside = [each.name for each in path.parent.iterdir() if each.is_file()] if path.parent.is_dir() else []
    files = get_close_matches(path.name, [name for name in beside if name.endswith((".yaml", ".yml"))], n=1)
    if files:
        return str(path.parent / files[0])
    names = get_close_matches(path.stem.lower(), shipped(), n=1)
    return f"the shipped recipe '{names[0]}'" if names else None
