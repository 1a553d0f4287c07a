"""The jobs of a cluster, through the REST interface of its dashboard (Ray's own client); errors in one line."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported
from cluster import local_nodes
from cluster.job_log import JobLog, last_words
from pipelines.errors import UserError
from pipelines.storage import permissions

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

RUNNING, SUCCEEDED, STOPPED = ("PENDING", "RUNNING"), "SUCCEEDED", "STOPPED"
CONNECT_S = 10
KILLED = 130
ENDS_S = 15
"""A job's status follows the end of its log within a second or two."""
OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Ray's client prefers these variables to the address that it is given."""
CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray's client that would speak between the job's lines."""


class Jobs:
    """The jobs of the cluster at an address.

    Args:
        address: URL of the dashboard; None: RAY_API_SERVER_ADDRESS, else the cluster of `selfray cluster up`.

    Raises:
        UserError: none answers there, it refuses the token, or it runs another version of Ray.
    """

    def __init__(self, address: str | None):
        self.address = _address(address)
        permissions.named()
        _reach(self.address)
        from ray.job_submission import JobSubmissionClient

        for name in OVERRIDES:
            os.environ.pop(name, None)
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        with self._said(f"is that a Ray {_wanted()} dashboard?"):
            self._client = JobSubmissionClient(self.address)
        check_version(self.address, str(self._client._server_ray_version))

    def submit(self, entrypoint: str, submission_id: str, folder: str, metadata: dict[str, str]) -> None:
        """Ship `folder` as the working directory and start the job there.

        Raises:
            UserError: the id has been taken meanwhile, or the cluster does not take the job.
        """
        # The driver saves a checkpoint when it is asked to stop; Ray kills it after 3 s unless told to wait.
        environment = {"working_dir": folder, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "120"}}
        with self._said("the cluster does not take the job"):
            try:
                self._client.submit_job(
                    entrypoint=entrypoint, submission_id=submission_id, runtime_env=environment, metadata=metadata
                )
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise
                raise UserError(
                    f"{submission_id}: somebody has submitted the same a moment ago; `selfray logs {submission_id} "
                    "--follow` shows it"
                ) from None

    def all(self) -> list["JobDetails"]:
        """What Selfray has submitted, oldest first."""
        with self._said():
            found = [job for job in self._client.list_jobs() if job.submission_id and "selfray" in (job.metadata or {})]
        return sorted(found, key=lambda job: job.start_time or 0)

    def one(self, submission_id: str) -> "JobDetails":
        """
        Raises:
            UserError: no job has this id.
        """
        found = {job.submission_id: job for job in self.all()}
        if submission_id not in found:
            raise UserError(f"{submission_id}: no such job at {self.address}; `selfray jobs` lists them")
        return found[submission_id]

    def log(self, submission_id: str) -> str:
        self.one(submission_id)
        with self._said():
            log = JobLog()
            return log(str(self._client.get_job_logs(submission_id))) + log.end()

    def follow(self, submission_id: str, show: Callable[[str], None]) -> int:
        """Show what the job prints until it ends; returns its exit status.

        Raises:
            UserError: the connection broke; the job goes on without us.
        """
        self.one(submission_id)
        log = JobLog()

        async def tail() -> None:
            lines: AsyncIterator[str] = self._client.tail_job_logs(submission_id)
            async for chunk in lines:
                show(log(chunk))

        back = f"`selfray logs {submission_id} --follow` comes back; if the cluster itself is gone, submit again"
        with self._said(f"lost while following {submission_id}: {back}"):
            try:
                asyncio.run(tail())
            finally:
                show(log.end())
        job = self.ended(submission_id, ENDS_S)
        if job.status == SUCCEEDED:
            return 0
        if job.status == STOPPED:
            show(f"{submission_id}: stopped; submitting the same again goes on from the last checkpoint\n")
            return KILLED
        if words := last_words(job.driver_exit_code, job.message or "", log.step):
            show(f"{submission_id}: {words}\n")
        status = job.driver_exit_code or 1
        return status if status > 0 else 128 - status  # as a shell says it

    def ended(self, submission_id: str, patience_s: float) -> "JobDetails":
        """
        Raises:
            UserError: it has not, after `patience_s`.
        """
        deadline = time.monotonic() + patience_s
        while (job := self.one(submission_id)).status in RUNNING:
            if time.monotonic() > deadline:
                raise UserError(f"{submission_id}: {job.status.lower()}; `selfray logs {submission_id} --follow`")
            time.sleep(0.3)
        return job

    def stop(self, submission_id: str) -> bool:
        """Ask the job to save a checkpoint and end; whether it was running."""
        if self.one(submission_id).status not in RUNNING:
            return False
        with self._said():
            return bool(self._client.stop_job(submission_id))

    @contextmanager
    def _said(self, what: str = "the cluster does not answer") -> Iterator[None]:
        """Ray's errors as ours."""
        import aiohttp
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise UserError(
                f"--address: {self.address}: the cluster refused the token; give its own: "
                "RAY_AUTH_TOKEN_PATH=FILE or RAY_AUTH_TOKEN=... (on Kubernetes it is in the cluster's secret)"
            ) from None
        except (requests.RequestException, aiohttp.ClientError, ConnectionError, RuntimeError, KeyError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"--address: {self.address}: {what} ({reason[:300]})") from None


def check_version(address: str, theirs: str) -> None:
    """
    Raises:
        UserError: the cluster's Ray is another one than ours.
    """
    if theirs.split(".")[:2] != _wanted().split("."):
        raise UserError(
            f"--address: {address}: the cluster runs Ray {theirs}, Selfray here is made for {_wanted()}; "
            "use the same version on both sides"
        )


def _wanted() -> str:
    from ray import __version__

    return ".".join(__version__.split(".")[:2])


def _address(given: str | None) -> str:
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS")
    if not address:
        local = local_nodes.load()
        if local is None or not local.alive():
            raise UserError(
                "--address: give the URL of the cluster's dashboard, e.g. http://127.0.0.1:8265, "
                "or start a cluster here: selfray cluster up --nodes 3"
            )
        address = local.address
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
        raise UserError(f"--address: {address}: write it as a URL, e.g. http://127.0.0.1:8265")
    return address.rstrip("/")


def _reach(address: str) -> None:
    """Ray's client would wait for minutes for a host that does not answer."""
    url = urlsplit(address)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--address: {address}: no cluster answers there ({error}); it is the dashboard's port, 8265 unless "
            "changed, forwarded to here by `ssh -L` or `kubectl port-forward`"
        ) from None
