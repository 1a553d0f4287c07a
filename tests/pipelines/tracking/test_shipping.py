"""The shipper alone: what it sends, what it remembers, what it survives."""

import resource

import pytest

from pipelines.storage import outbox
from pipelines.tracking import shipping
from pipelines.tracking.shipping import BATCH, Shipper, Unreachable


class Receiver:
    """Takes points while `up`."""

    def __init__(self):
        self.up = True
        self.points = []

    def __call__(self, run_id, points):
        if not self.up:
            raise Unreachable("down")
        self.points += points


def shipper(folder, receiver, run_id="r1"):
    return Shipper(folder, lambda: run_id, receiver)


def log(folder, steps):
    for step in steps:
        outbox.append(folder, step=step, total=9, metrics={"loss": step}, final=True)


def test_a_new_shipper_goes_on_where_the_last_one_was_and_skips_repeats(tmp_path):
    first, second = Receiver(), Receiver()
    log(tmp_path, [1, 2])
    assert shipper(tmp_path, first).close(0) == "r1"
    log(tmp_path, [2, 3])
    shipper(tmp_path, second).close(0)
    assert [p.step for p in first.points] == [1, 2]
    assert [p.step for p in second.points] == [3]


def test_another_run_gets_everything(tmp_path):
    other = Receiver()
    log(tmp_path, [1, 2])
    shipper(tmp_path, Receiver()).close(0)
    shipper(tmp_path, other, "r2").close(0)
    assert [p.step for p in other.points] == [1, 2]


def test_what_did_not_arrive_is_sent_again(tmp_path):
    receiver = Receiver()
    sending = shipper(tmp_path, receiver)
    log(tmp_path, range(1, BATCH + 10))  # two requests
    receiver.up = False
    with pytest.raises(Unreachable, match="down"):
        sending.close(0)
    assert shipping.state(tmp_path).offset == 0
    receiver.up = True
    sending.close(0)
    assert receiver.points == list(outbox.read(tmp_path))


def test_done_lasts_until_there_is_more_to_send(tmp_path):
    log(tmp_path, [1])
    sending = shipper(tmp_path, Receiver())
    sending.close(0)
    sending.mark_done()
    again = shipper(tmp_path, Receiver())
    again.close(0)
    assert again.done
    log(tmp_path, [2])
    again.close(0)
    assert not again.done and not shipping.state(tmp_path).done


def test_a_state_that_cannot_be_written_is_no_crash(tmp_path):
    receiver = Receiver()
    log(tmp_path, [1])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # what a full disk does
    try:
        with pytest.raises(Unreachable, match="too large"):
            shipper(tmp_path, receiver).close(0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    shipper(tmp_path, receiver).close(0)
    assert [p.step for p in receiver.points] == [1]
