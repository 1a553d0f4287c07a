"""Every file in pipelines/data/sources, held to the contract of its base.py."""

import json
import pickle
from dataclasses import asdict
from pathlib import Path

import pytest

from pipelines.data.sources.base import Part, Raw, Source
from ssl_core import catalog
from tests.support.sources import example

SOURCES = catalog.names("pipelines.data.sources")


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    component = catalog.find("pipelines.data.sources", request.param)
    made: Source = component(component.Config(**example(request.param, tmp_path)))
    return made


def listed(source: Source) -> list[Raw]:
    return [raw for part in source.parts(1) for raw in source.read(part)]


@pytest.mark.parametrize("name", SOURCES)
def test_it_has_a_one_line_summary_and_bears_its_own_name(name: str) -> None:
    component = catalog.find("pipelines.data.sources", name)
    assert component.Config.model_fields["name"].default == name
    assert 20 < len(catalog.summary("pipelines.data.sources", name)) < 120
    assert issubclass(component, Source)


def test_listing_and_fingerprint_are_stable(source: Source) -> None:
    assert source.parts(1) == source.parts(1)
    assert source.fingerprint() == source.fingerprint()


def test_each_part_gives_the_samples_that_it_counts(source: Source) -> None:
    for part in source.parts(1):
        assert part.count > 0
        assert len(list(source.read(part))) == part.count


def test_samples_are_readable_and_have_distinct_origins(source: Source) -> None:
    found = listed(source)
    assert all((raw.data is None) == (raw.error is not None) for raw in found)
    assert sum(raw.data is not None for raw in found) > 0
    assert len({raw.origin for raw in found}) == len(found)
    assert all(raw.label is None or raw.label for raw in found)


def test_a_task_on_another_process_reads_the_same(source: Source) -> None:
    sent: Source = pickle.loads(pickle.dumps(source))
    parts = [Part(**json.loads(json.dumps(asdict(part)))) for part in source.parts(1)]
    assert [raw for part in parts for raw in sent.read(part)] == listed(source)
    assert len(pickle.dumps(source)) < 10_000  # the listing travels in the parts, not with every task


def test_splits_are_all_or_none(source: Source) -> None:
    splits = {part.split for part in source.parts(1)}
    assert splits in ({None}, {"train"}, {"train", "test"})


def test_it_says_the_codec_of_each_field(source: Source) -> None:
    """And gives bytes which that codec reads, where the codec is there."""
    assert type(source).fields and all(isinstance(name, str) for name in type(source).fields)
    for codec in set(type(source).fields.values()) & set(catalog.names("ssl_core.codecs")):
        component = catalog.find("ssl_core.codecs", codec)
        assert all(component(component.Config()).clean(raw.data) for raw in listed(source) if raw.data is not None)
