"""Reads what code trained an encoder and what code evaluated it, from the runs that did."""

import json

from pipelines.registry.registry import Registry, Run
from pipelines.registry.review.facts import Code
from pipelines.tracking import attempts

PACKAGES = ("torch", "torchvision", "ray", "mlflow", "numpy", "opencv-python-headless", "safetensors")


def stage(registry: Registry, run: Run) -> Run | None:
    """The run of the pre-training stage whose checkpoint a run used; None: not on this server."""
    experiment, folder = run.info.experiment_id, run.data.tags.get("selfray.reused.pretrain")
    mine = f"tags.mlflow.parentRunId = '{run.info.run_id}'"
    if folder:  # trained below an earlier run
        mine = f"tags.`selfray.stage_folder` = '{folder}'"
    query = f"{mine} and tags.`selfray.stage` = 'pretrain'"
    with registry.asked():
        found = registry.client.search_runs([experiment], query, max_results=1)
    return found[0] if found else None


def trainer(registry: Registry, run: Run, trained: Run | None) -> Run | None:
    """The run that the pre-training stage belongs to: this one, or an earlier one; None: not on this server."""
    if trained is None:
        return None if "selfray.reused.pretrain" in run.data.tags else run
    parent = trained.data.tags.get("mlflow.parentRunId", run.info.run_id)
    return run if parent == run.info.run_id else registry.run(parent)


def codes(registry: Registry, run: Run) -> tuple[Code, ...]:
    """The code of each attempt at a run, oldest first; attempts that did not differ from the one before are none."""
    tags = run.data.tags
    there = attempts.numbers(tags)
    names = [attempts.file(name, number) for name in ("uncommitted.patch", "environment.json") for number in there]
    folder = registry.artifacts(run.info.run_id, *names)

    def text(name: str) -> str:
        return (folder / name).read_text() if (folder / name).exists() else ""

    def code(number: int) -> Code:
        patch, dirty = attempts.file("uncommitted.patch", number), attempts.tag("git.dirty", number)
        return Code(
            run_id=run.info.run_id,
            commit=tags.get(attempts.tag("git.commit", number), ""),
            branch=tags.get(attempts.tag("git.branch", number), ""),
            dirty=tags[dirty] == "true" if dirty in tags else None,
            patch=patch if text(patch) else "",
            patch_lines=len(text(patch).splitlines()),
            environment=_shown(text(attempts.file("environment.json", number))),
        )

    return tuple(map(code, there))


def _shown(environment: str) -> dict[str, str]:
    """The machine, and the packages that matter."""
    found = json.loads(environment or "{}")
    packages = found.pop("packages", {})
    shown = {key: str(value) for key, value in found.items() if value}
    return shown | {package: packages[package] for package in PACKAGES if package in packages}
