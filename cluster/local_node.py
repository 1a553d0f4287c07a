"""One Ray node as one process on this machine: what `selfray cluster up` starts several of.

`ray start` would take another address than loopback, on which everybody in the network could knock. When this process
ends, in whatever way, the kernel ends the Ray processes that it started.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pipelines.runtime  # noqa: F401  Ray reads its settings when it is imported
from pipelines.storage.atomic import write_text

LOOPBACK = "127.0.0.1"
QUICK = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}
"""A node that was killed is noticed after some five seconds, not fifteen: there is no network between these."""


def main(spec: dict[str, Any], ready: Path) -> None:
    """Start the node, say in `ready` that it is there, and stay until a signal comes or a part of it dies."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams
    from ray._private.utils import write_ray_address

    head = "gcs_address" not in spec
    common: dict[str, Any] = {"node_ip_address": LOOPBACK, "dashboard_host": LOOPBACK, "dashboard_agent_listen_port": 0}
    if head:
        common["_system_config"] = QUICK
    parameters = RayParams(min_worker_port=0, max_worker_port=0, **common, **spec)
    node = Node(parameters, head=head, shutdown_at_exit=True, spawn_reaper=True)
    write_ray_address(node.gcs_address, spec["temp_dir"])  # job drivers look there where several Rays are running

    def leave(number: int, frame: FrameType | None) -> None:
        node.kill_all_processes(check_alive=False, allow_graceful=True)
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)  # Ray's own would drain for half a minute
    write_text(ready, json.dumps({"node_id": node.node_id}))
    while not (dead := node.dead_processes()):
        time.sleep(0.5)
    print("a part of this node died:", ", ".join(kind for kind, _ in dead), flush=True)
    node.kill_all_processes(check_alive=False, allow_graceful=False)
    os._exit(1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
