"""Invariant 1: the order is a pure function, covers each epoch once, and is cut the same for any number of workers."""

from itertools import pairwise

import numpy as np
import pytest

from pipelines.data.batches.order import Order, Span

SIZES = np.array([256] * 37 + [100], dtype=np.int64)  # the last row group of a file is short


def make(shuffle_rows: int = 2048, batch: int = 64, seed: int = 3, digest: str = "ab" * 32) -> Order:
    return Order(SIZES, digest, seed, shuffle_rows, batch)


def ids(order: Order, epoch: int, start: int, stop: int) -> np.ndarray:
    """Rows as one number each: where they lie in the split."""
    rows = order.rows(epoch, start, stop)
    return (np.cumsum(SIZES) - SIZES)[rows.group] + rows.row


@pytest.mark.parametrize("shuffle_rows", [1, 256, 1000, 2048, 1_000_000])
def test_an_epoch_is_each_row_once(shuffle_rows):
    order = make(shuffle_rows)
    assert sorted(ids(order, 2, 0, order.num_rows)) == list(range(order.num_rows))


def test_any_cut_gives_the_same_rows():
    order = make()
    whole = ids(order, 1, 0, order.num_rows)
    cuts = [0, 1, 63, 500, 2047, 2048, 2049, 6000, order.num_rows]
    pieces = [ids(order, 1, a, b) for a, b in pairwise(cuts)]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_epoch_seed_and_digest_each_change_the_order():
    base = ids(make(), 0, 0, 64)
    for other in (ids(make(), 1, 0, 64), ids(make(seed=4), 0, 0, 64), ids(make(digest="cd" * 32), 0, 0, 64)):
        assert not np.array_equal(base, other)


def test_it_is_the_order_it_always_was():
    """Golden: a resume after an upgrade must find the same order."""
    assert ids(make(), 5, 100, 108).tolist() == [7298, 5617, 7324, 3105, 5376, 4378, 701, 7405]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_workers_share_the_same_global_batches(size):
    order = make()
    span = Span(0, 3, 6)
    shares = [order.share(span, rank, size) for rank in range(size)]
    offsets = np.cumsum(SIZES) - SIZES
    flat = [offsets[s.group] + s.row for s in shares]
    per_batch = [f.reshape(3, 64 // size) for f in flat]
    assert np.array_equal(np.concatenate(per_batch, axis=1).reshape(-1), ids(order, 0, 3 * 64, 6 * 64))


def test_spans_cover_epochs_without_gap_or_repeat():
    order = make()
    per_epoch = order.batches_per_epoch
    start = per_epoch - 3
    spans = list(order.spans(start, start + 2 * per_epoch, 10))
    batches = [(s.epoch, b) for s in spans for b in range(s.start, s.stop)]
    assert batches == [divmod(i, per_epoch) for i in range(start, start + 2 * per_epoch)]
    assert all(s.stop - s.start <= 10 for s in spans)


def test_shuffle_quality_follows_the_documented_ratio():
    """Pairs of one row group meet in a batch about N / shuffle_rows times as often as under a full shuffle."""
    sizes = np.full(256, 32, dtype=np.int64)

    def meetings(shuffle_rows: int) -> float:
        order = Order(sizes, "ef" * 32, 0, shuffle_rows, 64)
        found = 0
        for epoch in range(4):
            group = order.rows(epoch, 0, order.num_rows).group.reshape(-1, 64)
            counts = np.stack([np.bincount(batch, minlength=256) for batch in group])
            found += int((counts * (counts - 1) // 2).sum())
        return found

    full = meetings(10**9)
    for shuffle_rows in (1024, 2048, 4096):
        assert meetings(shuffle_rows) / full == pytest.approx(8192 / shuffle_rows, rel=0.2)


def test_a_window_touches_a_bounded_number_of_row_groups():
    order = make(shuffle_rows=1024)
    for start in range(0, 9000, 500):
        assert len(np.unique(order.rows(0, start, start + 64).group)) <= 2 * (1024 // 256 + 1)
