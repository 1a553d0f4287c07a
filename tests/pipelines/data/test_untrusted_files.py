"""Files from elsewhere that want to run code, lead outside their folder or fill the memory are refused, unread."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.config import plain_yaml
from pipelines.config.parse import load
from pipelines.data.batches.order import Rows
from pipelines.data.batches.reading import Piece, Views, read_piece
from pipelines.data.batches.row_groups import Group
from pipelines.data.shards import manifest
from pipelines.data.shards.manifest import Manifest, ShardFile
from pipelines.data.shards.schema import LABELS
from pipelines.data.shards.schema import samples as sample_schema
from pipelines.data.sources import parquet
from pipelines.errors import UserError
from pipelines.storage import parquet as footer
from pipelines.storage import parquet_pages
from pipelines.tuning.outcome.report import _table
from tests.support.images import encoded, image_fields
from tests.support.payload import Payload
from tests.support.reading import SHARD_MB, made, refusal, samples


class Running(pa.ExtensionType):  # type: ignore[misc]
    """As Ray's tensor types once were: what lies in the file decides what is unpickled."""

    def __init__(self, payload: bytes = b""):
        self._payload = payload
        super().__init__(pa.binary(), "selfray.test.running")

    def __arrow_ext_serialize__(self) -> bytes:
        return self._payload

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Running":
        pickle.loads(serialized)
        return cls(serialized)


@pytest.fixture
def crafted(tmp_path):
    """(a Parquet file that runs code when pyarrow opens it, the file that appears if it does)."""
    proof, path = tmp_path / "code-ran", tmp_path / "crafted.parquet"
    kind = Running(pickle.dumps(Payload(proof)))
    extra = pa.ExtensionArray.from_storage(kind, pa.array([b"x"]))
    pq.write_table(pa.table({"image": pa.array([encoded(1)], pa.binary()), "extra": extra}), path)
    pa.register_extension_type(Running(pickle.dumps(None)))
    yield path, proof
    pa.unregister_extension_type("selfray.test.running")


def test_a_crafted_schema_runs_nothing(crafted):
    path, proof = crafted
    pq.ParquetFile(path).close()
    assert proof.exists(), "the file does what it is for, where it is opened as usual"
    proof.unlink()
    with pytest.raises(UserError, match=r"^source\.path: .*column 'extra' has the extension type selfray.*; refused"):
        made("parquet", path=path).parts(SHARD_MB)
    with pytest.raises(footer.Refused, match="extension type"):
        footer.table(path, sample_schema("image"))
    assert not proof.exists()


def test_a_crafted_shard_runs_nothing(crafted):
    path, proof = crafted
    kind = pq.read_schema(path).field("extra").type  # opening it here arms nothing below
    proof.unlink()
    extra = pa.ExtensionArray.from_storage(kind, pa.array([b"x"]))
    table = pa.table(
        [pa.array([1]), pa.array([encoded(1)], pa.binary()), pa.array(["a"]), extra],
        [*sample_schema("image").names, "x"],
    )
    pq.write_table(table, path)
    piece = Piece((Group(str(path), 0),), Rows(np.zeros(1, np.int64), np.zeros(1, np.int64)), epoch=0)
    with pytest.raises(UserError, match="extension type selfray"):
        read_piece(piece, Views((), seed=0, codecs=image_fields(10_000), slow_read_seconds=30))
    assert not proof.exists()


def test_a_known_type_is_not_made_from_an_altered_footer(crafted):
    path, proof = crafted
    data = path.read_bytes()
    path.write_bytes(data.replace(b"ARROW:schema", b"ARROW:schemx"))  # hidden under the name that we use
    with pytest.raises(footer.Refused):
        footer.opened(path)
    at, key = data.rindex(b"ARROW:schema"), b"\x18\x0cARROW:schema"
    assert data[at - 2 : at + 12] == key
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - length
    twice = data[start:-8] + key
    path.write_bytes(data[:start] + twice + len(twice).to_bytes(4, "little") + b"PAR1")
    with pytest.raises((footer.Refused, OSError)):
        footer.opened(path)
    assert not proof.exists()


def test_our_own_tables_have_their_columns_and_no_others(tmp_path):
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table([[1], ["a"]], schema=LABELS), path)
    assert footer.table(path, LABELS).to_pylist() == [{"sample_id": 1, "label": "a"}]
    pq.write_table(pa.table({"sample_id": [1], "label": ["a"], "more": [2]}), path)
    with pytest.raises(footer.Refused, match=r"more: int64\), not \(sample_id: int64, label: string\)"):
        footer.table(path, LABELS)


@pytest.mark.parametrize("tail", [b"", b"PAR1", b"\x00" * 40, b"\xff\xff\xff\x7fPAR1", b"garbage!\x08\x00\x00\x00PAR1"])
def test_what_is_no_parquet_file_is_an_error_not_an_abort(tmp_path, tail):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + b"\x00" * 20 + tail)
    with pytest.raises(UserError, match=r"^source\.path: .*x\.parquet: (not a Parquet file|cannot be read) \("):
        made("parquet", path=path).parts(SHARD_MB)


def test_pages_that_blow_up_are_refused_before_they_do(tmp_path):
    path = tmp_path / "bomb.parquet"
    huge = pa.table({"image": pa.array([bytes(70 << 20)], pa.binary())})
    for options in ({"use_dictionary": False}, {"use_dictionary": True, "dictionary_pagesize_limit": 1 << 30}):
        pq.write_table(huge, path, compression="zstd", **options)
        assert path.stat().st_size < 1 << 20
        (raw,) = samples(made("parquet", path=path))
        assert raw.data is None and "70 MB: a decompression bomb" in str(raw.error)


def test_rows_that_repeat_one_huge_value_come_few_at_a_time(tmp_path, monkeypatch):
    path = tmp_path / "repeated.parquet"
    value = np.random.default_rng(0).bytes(1 << 20)
    rows = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), pa.array([value], pa.binary()))
    pq.write_table(pa.table({"image": rows}), path, dictionary_pagesize_limit=1 << 30)
    assert path.stat().st_size < 2 << 20
    with footer.opened(path) as file:
        assert parquet_pages.check(path, file.metadata, 0, ["image"]) >= 1 << 20
        assert parquet_pages.check(path, file.metadata, 0, ["label"]) == 0
    monkeypatch.setattr(parquet, "BATCH_BYTES", 2 << 20)
    before = pa.total_allocated_bytes()
    reading = made("parquet", path=path).read(made("parquet", path=path).parts(SHARD_MB)[0])
    assert next(reading).data == value
    assert pa.total_allocated_bytes() - before < 16 << 20, "the whole row group would be 500 MB"
    reading.close()


def test_page_sizes_are_those_that_pyarrow_wrote(tmp_path):
    """Every kind of page header that pyarrow writes is understood, statistics and checksums included."""
    values = pa.array([encoded(row) for row in range(200)], pa.binary())
    for version in ("1.0", "2.0"):
        for options in ({"use_dictionary": True}, {"use_dictionary": False, "write_page_checksum": True}):
            path = tmp_path / "x.parquet"
            pq.write_table(
                pa.table({"image": values}), path, data_page_version=version, data_page_size=2000, compression="snappy",
                write_statistics=True, **options,
            )  # fmt: skip
            with footer.opened(path) as file:
                found = parquet_pages.check(path, file.metadata, 0, ["image"])
            assert found > 1000
            assert [raw.data for raw in samples(made("parquet", path=path))] == values.to_pylist()


@pytest.mark.parametrize("path", ["../secret.parquet", "/etc/passwd", "train/../../x", "", "a\0b"])
def test_a_manifest_names_files_below_itself_only(tmp_path, path):
    shard = ShardFile(path="a.parquet", row_groups=(1,), num_bytes=1, sha256="", labels_path=None, labels_sha256=None)
    whole = Manifest(source={}, train=(shard,), test=(), classes=None, num_quarantined=0, num_duplicates=0)
    tree = json.loads(whole.model_dump_json())
    for key in ("path", "labels_path"):
        changed = {**tree, "train": [{**tree["train"][0], key: path}]}
        (tmp_path / manifest.NAME).write_text(json.dumps(changed))
        with pytest.raises(UserError, match=r"not a manifest: .* leads outside the folder"):
            manifest.load(tmp_path)
    whole = whole.model_copy(update={"digest": whole.compute_digest()})
    for good, bad in (
        ('"num_duplicates"', '"num_duplicatez"'),
        ('"train"', '"tsain"'),
        ('"path"', '"xath"'),
        ("{", "["),
    ):
        (tmp_path / manifest.NAME).write_text(whole.model_dump_json().replace(good, bad, 1))
        with pytest.raises(UserError) as error:
            manifest.load(tmp_path)
        assert str(error.value).startswith(f"{tmp_path / manifest.NAME}: damaged, not ")
        assert str(error.value).endswith(f"; delete {tmp_path} and run again") and "\n" not in str(error.value)
    (tmp_path / manifest.NAME).write_bytes(b'{"format": 1, "\xff')
    with pytest.raises(UserError, match=r"damaged, not JSON \(.*; delete .* and run again"):
        manifest.load(tmp_path)
    (tmp_path / manifest.NAME).write_text("[" * 100_000)
    with pytest.raises(UserError, match="not JSON"):
        manifest.load(tmp_path)


def test_a_table_without_line_ends_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("wb") as file:
        file.truncate(64 << 30)  # 64 GB of zeros that take no space
    assert "a line of more than" in refusal("csv_manifest", path=path)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{here}: &{here} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, here in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: !!python/object/apply:os.system [touch code-ran]", "not valid YAML: could not determine a constructor"),
        ("name: !!python/name:os.system x", "not valid YAML"),
        (BOMB, "unfold into more than 100000 values"),
        ("a: &a [*a]", "an alias refers to what it is part of"),
        ("[" * 50_000, "nested too deeply"),
        ("seed: " + "9" * 10_000, "not valid YAML"),
        ("# " + "x" * (1 << 20), "more than 1048576"),
    ],
)
def test_recipes_are_plain_values(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load(tmp_path / "r.yaml")
    assert "\n" not in str(error.value) and not Path("code-ran").exists()
    assert plain_yaml.load("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}, "ordinary aliases are welcome"


def test_tables_of_the_html_report_escape_what_comes_from_outside():
    made_of = _table(["<b>"], [['<script>alert("x")</script>', "a & b"]], None)
    assert "<script>" not in made_of and "&lt;script&gt;alert(&quot;x&quot;)" in made_of and "a &amp; b" in made_of
