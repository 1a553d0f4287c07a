"""Run the trials of a campaign on Ray Tune: it places them, counts them and restarts those whose process dies.

What is tried and what is stopped is decided in pipelines/tuning and recorded there, so nothing that Tune keeps is
ever needed again: its own folder is thrown away. Tune's population based training needs checkpoints that Tune itself
hands from trial to trial; on Ray Train V2 its TuneReportCallback passes metrics only, so `scheduler: pbt` is refused.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported

# isort: split
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from pipelines.config.run import RunConfig
from pipelines.errors import Interrupted, UserError
from pipelines.runtime import capacity
from pipelines.runtime.background import BackgroundCall
from pipelines.runtime.notices import Notices
from pipelines.runtime.waiting import PlacementWatch
from pipelines.storage.signals import STOP
from pipelines.tracking.display import say
from pipelines.train import pretrain
from pipelines.tuning.campaign import Campaign
from pipelines.tuning.records import Look, Trial
from pipelines.tuning.trials import trial

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # its snapshots are pickles, and nobody reads them
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
Next = Callable[[], Trial | None]


def max_concurrent(config: RunConfig, wanted: int | None) -> tuple[int, str]:
    """How many trials at a time, and why.

    Each trial holds one CPU per worker and leaves `data.cpus` per worker free for Ray Data's tasks, which Tune does
    not count: without that room trials would wait for batches that can never be made (ray #29662). A cluster that may
    grow is waited for, as one training would: for the `wanted` trials, or else for one.

    Raises:
        UserError: not even one fits, or fewer than `wanted`.
    """
    workers = config.train.num_workers
    each = workers * (1 + config.data.cpus)
    needed = {"CPU": each * (wanted or 1)}
    if config.train.device == "cuda":
        needed["GPU"] = workers * (wanted or 1)
    has = capacity.wait_for(config, needed)
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    local = config.ray.address == "local" and config.ray.num_cpus is None
    usable = min(cpus, max(os.cpu_count() or 1, each)) if local else cpus
    fit = usable // each
    why = f"{usable} CPUs / {each} per trial ({workers} x (1 to train + {config.data.cpus} to read))"
    if config.train.device == "cuda" or (config.train.device == "auto" and gpus >= workers):
        fit = min(fit, gpus // workers)
        why += f", {gpus} GPUs / {workers}"
    more = "; raise ray.num_cpus" if config.ray.address == "local" else ""
    if fit < 1:
        raise UserError(f"tune: a trial does not fit: {why}; lower train.num_workers or data.cpus{more}")
    if wanted is not None and wanted > fit:
        raise UserError(f"tune.max_concurrent: {wanted} trials do not fit at a time, {fit} do: {why}; lower it{more}")
    return wanted or fit, why


def run_trials(campaign: Campaign, next_trial: Next, config: RunConfig, at_a_time: int) -> None:
    """Run what `next_trial` gives until it gives nothing.

    Raises:
        Interrupted: Ctrl-C; every running trial has saved a checkpoint.
    """
    os.environ |= QUIET
    (campaign.folder / STOP).unlink(missing_ok=True)
    for left in campaign.folder.glob("ray-*"):  # by a driver that was killed: the campaign's lock is ours now
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="ray-", dir=campaign.folder))
    trials = BackgroundCall(lambda: _tuner(campaign, next_trial, config, at_a_time, scratch).fit())
    try:
        on_gpus = pretrain.on_gpus(config, capacity.num_gpus())
        _wait(campaign, trials, Notices(config.ray), PlacementWatch(pretrain.of_workers(config, on_gpus)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if campaign.fault:
        raise campaign.fault
    if trials.failure:
        raise trials.failure
    if campaign.stopping:
        raise Interrupted("stopped; every trial that was running has saved a checkpoint")


def _wait(campaign: Campaign, trials: BackgroundCall, notices: Notices, room: PlacementWatch) -> None:
    try:
        while not trials.ended(0.2):
            notices.poll(t.work for t in campaign.trials if t.state == "running" and t.work.exists())
            room.poll(lambda text: say(f"tune  {text}"))
    except KeyboardInterrupt:
        say("tune  Ctrl-C: the running trials save a checkpoint, then it stops (again: stop at once)")
        campaign.stop()
        while not trials.ended(0.2):
            pass


def _tuner(campaign: Campaign, next_trial: Next, config: RunConfig, at_a_time: int, scratch: Path) -> Any:
    warnings.filterwarnings("ignore", module=r"ray\.tune.*")
    alone = config.train.num_workers == 1  # for more workers Ray Train does the reserving; Tune must hold something
    held = {"CPU": float(alone), "GPU": float(alone and config.train.device != "cpu" and capacity.num_gpus() > 0)}
    held["memory"] = 1.0
    return tune.Tuner(
        tune.with_resources(trial.run, held),
        tune_config=tune.TuneConfig(
            search_alg=_Ask(campaign, next_trial),
            scheduler=_Tell(campaign),
            num_samples=-1,
            max_concurrent_trials=at_a_time,
            reuse_actors=True,  # a new process imports for seconds what the last one has
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=config.train.max_failures),
            callbacks=[_Mourn(campaign)],
        ),
    )


class _Live:
    """Tune pickles whatever it is given into its folder; of ours there is nothing to keep."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Ask(_Live, Searcher):  # type: ignore[misc]
    """Tune's question what to run next, passed on."""

    def __init__(self, campaign: Campaign, next_trial: Next):
        super().__init__()
        self._campaign, self._next = campaign, next_trial

    def suggest(self, trial_id: str) -> dict[str, Any] | Literal["FINISHED"]:
        chosen = self._next()
        if chosen is None:
            return "FINISHED"
        return {"record": str(self._campaign.folder / "trials" / chosen.folder_name), "number": chosen.number}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()  # the records are the state

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Tell(_Live, FIFOScheduler):  # type: ignore[misc]
    """Tune's results, passed on; the trial reads in its record what becomes of it, so Tune always hears CONTINUE."""

    def __init__(self, campaign: Campaign):
        super().__init__()
        self._campaign = campaign

    def on_trial_result(self, controller: Any, ray_trial: Any, result: dict[str, Any]) -> str:
        number = ray_trial.config["number"]
        if "look" in result:
            self._campaign.looked(number, Look.model_validate_json(result["look"]))
        if "failed" in result:
            self._campaign.failed(number, result["failed"], curable=result["curable"])
        return str(TrialScheduler.CONTINUE)


class _Mourn(_Live, tune.Callback):  # type: ignore[misc]
    """Writes down trials whose process died more often than `train.max_failures`."""

    def __init__(self, campaign: Campaign):
        self._campaign = campaign

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        lines = [line.strip() for line in str(trial.get_error() or "").splitlines() if line.strip()]
        reason = lines[-1] if lines else "unknown"
        text = f"its process died again and again: {reason}"[:2000]
        self._campaign.failed(trial.config["number"], text, curable=True)
