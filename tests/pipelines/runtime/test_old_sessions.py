"""Folders of Rays that are gone are removed; those of living or young ones are not."""

import os
import subprocess
import sys
import time

from pipelines.runtime import old_sessions


def session(folder, pid, age):
    made = folder / f"session_2026-12-01_03-10-00_123456_{pid}"
    (made / "logs").mkdir(parents=True)
    log = made / "logs" / "raylet.out"
    log.touch()
    os.utime(log, (time.time() - age,) * 2)
    return made


def test_only_old_sessions_without_a_process_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old, young = session(tmp_path / "a", ended.pid, 7200), session(tmp_path / "b", ended.pid, 60)
    alive = session(tmp_path / "a", os.getpid(), 7200)
    (tmp_path / "a" / "session_latest").symlink_to(alive)
    (tmp_path / "a" / "mine").mkdir()
    assert old_sessions.remove(tmp_path / "a") == 1 and old_sessions.remove(tmp_path / "b") == 0
    assert not old.exists() and young.exists() and alive.exists() and (tmp_path / "a" / "mine").exists()
    assert old_sessions.remove(tmp_path / "absent") == 0
