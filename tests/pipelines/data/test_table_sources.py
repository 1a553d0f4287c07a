"""What the table sources (Parquet, CSV) list, read and refuse."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.sources import _files
from pipelines.errors import UserError
from tests.support.data import shared
from tests.support.images import encoded, write_tree
from tests.support.reading import SHARD_MB, made, refusal, samples


class TestParquet:
    def table(self, count: int = 10) -> pa.Table:
        labels = [str(i % 3) if i != 4 else None for i in range(count)]
        return pa.table({"image": [encoded(i) for i in range(count)], "y": labels, "boxes": [[1, 2]] * count})

    def test_reads_bytes_with_labels_by_row_group(self, tmp_path: Path) -> None:
        pq.write_table(self.table(), tmp_path / "x.parquet", row_group_size=3)
        found = samples(made("parquet", path=tmp_path / "x.parquet", label="y"))
        assert [raw.data for raw in found] == [encoded(i) for i in range(10)]
        assert [raw.origin for raw in found[:2]] == ["x.parquet#0", "x.parquet#1"]
        assert [raw.label for raw in found[:5]] == ["0", "1", "2", "0", None]

    def test_row_groups_are_not_split_and_rows_keep_their_numbers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_files, "MAX_SAMPLES", 6)
        pq.write_table(self.table(), tmp_path / "x.parquet", row_group_size=3)
        source = made("parquet", path=tmp_path / "x.parquet")
        assert [part.count for part in source.parts(SHARD_MB)] == [6, 4]
        assert [raw.row for raw in samples(source)] == list(range(10))

    def test_folder_pattern_and_splits(self, tmp_path: Path) -> None:
        for name in ("d/train-0.parquet", "d/train-1.parquet", "d/test-0.parquet", "d/.hidden.parquet"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            pq.write_table(self.table(2), tmp_path / name)
        assert len(samples(made("parquet", path=tmp_path / "d"))) == 6
        pattern = made("parquet", path=tmp_path / "d/train-*.parquet", test_path=tmp_path / "d/test-0.parquet")
        splits = [(part.split, part.count) for part in pattern.parts(SHARD_MB)]
        assert splits == [("train", 2), ("train", 2), ("test", 2)]
        assert samples(pattern)[2].file == "d/train-1.parquet"

    def test_structs_and_paths(self, tmp_path: Path) -> None:
        write_tree(tmp_path / "data", {"img/a.png": encoded(1)})
        write_tree(tmp_path, {"out.png": encoded(2)})
        rows = [
            {"bytes": encoded(7), "path": None},
            {"bytes": None, "path": "img/a.png"},
            None,
            {"bytes": None, "path": None},
            {"bytes": None, "path": "../out.png"},
        ]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "data/x.parquet")
        found = samples(made("parquet", path=tmp_path / "data/x.parquet"))
        assert [raw.data for raw in found] == [encoded(7), encoded(1), None, None, None]
        assert [raw.error for raw in found][2:4] == ["null in column 'image'"] * 2
        assert str(found[4].error).startswith("leads outside")
        pq.write_table(pa.table({"image": ["img/a.png"]}), tmp_path / "data/y.parquet")
        assert samples(made("parquet", path=tmp_path / "data/y.parquet"))[0].data == encoded(1)
        pq.write_table(pa.table({"image": [{"bytes": encoded(7), "path": None}]}), tmp_path / "data/z.parquet")
        assert samples(made("parquet", path=tmp_path / "data/z.parquet"))[0].data == encoded(7)  # path: of type null

    def test_a_damaged_row_group_loses_only_itself(self, tmp_path: Path) -> None:
        path = tmp_path / "x.parquet"
        options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
        pq.write_table(self.table(), path, row_group_size=3, **options)
        column = pq.ParquetFile(path).metadata.row_group(1).column(0)
        data = bytearray(path.read_bytes())
        data[column.data_page_offset + column.total_compressed_size - 100] ^= 0xFF
        path.write_bytes(data)
        found = samples(made("parquet", path=path))
        assert [raw.row for raw in found] == list(range(10))
        assert [raw.data is None for raw in found] == [3 <= i < 6 for i in range(10)]
        assert str(found[3].error).startswith("row group 1 cannot be read")

    def test_extension_types_are_refused_before_rows_are_read(self, tmp_path: Path) -> None:
        for place in (pa.binary(), pa.list_(pa.field("item", pa.binary(), metadata=EXTENSION))):
            metadata = EXTENSION if pa.types.is_binary(place) else None
            schema = pa.schema([pa.field("image", pa.binary()), pa.field("extra", place, metadata=metadata)])
            values = [b"x"] if metadata else [[b"x"]]
            table = pa.table([pa.array([encoded(1)], pa.binary()), pa.array(values, place)], schema=schema)
            pq.write_table(table, tmp_path / "x.parquet")
            with pytest.raises(UserError, match=r"extension type ray\.data\.arrow_pickled_object; refused"):
                made("parquet", path=tmp_path / "x.parquet").parts(SHARD_MB)

    def test_refusals(self, tmp_path: Path) -> None:
        pq.write_table(self.table(), tmp_path / "x.parquet")
        (tmp_path / "bad.parquet").write_bytes(b"not parquet at all")
        (tmp_path / "empty").mkdir()
        pq.write_table(self.table().slice(0, 0), tmp_path / "none.parquet")

        def said(path: Path, **options: str) -> str:
            with pytest.raises(UserError) as error:
                made("parquet", path=path, **options).parts(SHARD_MB)
            assert "\n" not in str(error.value)
            return str(error.value)

        assert "did you mean 'image'? it has image, y, boxes" in said(tmp_path / "x.parquet", image="imag")
        assert said(tmp_path / "x.parquet", label="lable").startswith("source.label: ")
        assert "needs encoded bytes" in said(tmp_path / "x.parquet", image="boxes")
        assert "needs integers, text or booleans" in said(tmp_path / "x.parquet", label="boxes")
        assert "not a Parquet file" in said(tmp_path / "bad.parquet")
        assert "holds no *.parquet file" in said(tmp_path / "empty")
        assert "no file matches" in said(tmp_path / "y-*.parquet")
        assert "has no rows" in said(tmp_path / "none.parquet")
        assert "no such file" in said(tmp_path / "nowhere.parquet")

    def test_a_column_that_is_there_twice_is_named(self, tmp_path: Path) -> None:
        image, label = self.table()["image"], self.table()["y"]
        for option, columns in (("label", [image, label, label]), ("image", [image, image, label])):
            names = ["image", "image", "y"] if option == "image" else ["image", "y", "y"]
            pq.write_table(pa.table(columns, names=names), tmp_path / "x.parquet")
            said = rf"^source\.{option}: .*x\.parquet has the column '{names[1]}' twice; rename or drop one of them$"
            with pytest.raises(UserError, match=said):
                made("parquet", path=tmp_path / "x.parquet", label="y").parts(SHARD_MB)
        pq.write_table(pa.table([image, label, label], names=["image", "z", "z"]), tmp_path / "x.parquet")
        assert len(samples(made("parquet", path=tmp_path / "x.parquet"))) == 10, "nobody reads those"

    def test_cifar10(self) -> None:
        source = made("parquet", path=shared("cifar10", "test.parquet"), label="label_name")
        found = samples(source)
        assert len(found) == 5000
        assert len({raw.label for raw in found}) == 10
        assert len({part.count for part in source.parts(64)}) == 1


EXTENSION = {"ARROW:extension:name": "ray.data.arrow_pickled_object", "ARROW:extension:metadata": "x"}


class TestCsvManifest:
    def test_reads_paths_and_labels(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {"i/a.png": encoded(1), "i/b.png": encoded(2)})
        text = "\ufeffpath,y\ni/a.png,cat\n\ni/b.png,\ni/c.png,dog\n,cat\n../x.png,cat\n"
        (tmp_path / "list.csv").write_text(text, encoding="utf-8")
        found = samples(made("csv_manifest", path=tmp_path / "list.csv", label="y"))
        assert [raw.label for raw in found] == ["cat", None, "dog", "cat", "cat"]
        assert [raw.origin for raw in found[:2]] == ["i/a.png#0", "i/b.png#1"]
        assert [raw.data for raw in found[:2]] == [encoded(1), encoded(2)]
        assert found[2].error == "cannot be read (No such file or directory)"
        assert found[3].error == "no path in column 'path'"
        assert found[4].error is not None

    def test_root_and_tabs(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {"i/a.png": encoded(1)})
        (tmp_path / "tables").mkdir()
        table = tmp_path / "tables" / "list.tsv"
        table.write_text(f"file\tx\na.png\t1\n{tmp_path}/i/a.png\t2\n{tmp_path}/tables/list.tsv\t3\n")
        found = samples(made("csv_manifest", path=table, image="file", root=tmp_path / "i"))
        assert [raw.data for raw in found] == [encoded(1), encoded(1), None]
        assert str(found[2].error).startswith("leads outside")

    def test_fingerprint_sees_the_images(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {"a.png": encoded(1), "list.csv": b"path\na.png\n"})
        source = made("csv_manifest", path=tmp_path / "list.csv")
        before = source.fingerprint()
        (tmp_path / "a.png").write_bytes(encoded(2, 40, 40))
        assert source.fingerprint() != before

    def test_refusals(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {"a.csv": b"pth,y\nx,1\n", "bin.csv": b"path\n\xff\xfe\n", "none.csv": b""})
        write_tree(tmp_path, {"header.csv": b"path\n"})
        assert "did you mean 'pth'?" in refusal("csv_manifest", path=tmp_path / "a.csv")
        assert "not a readable CSV table" in refusal("csv_manifest", path=tmp_path / "bin.csv")
        assert "has no column 'path'" in refusal("csv_manifest", path=tmp_path / "none.csv")
        assert "not a readable CSV table" in refusal("csv_manifest", path=tmp_path)
        assert "no such file" in refusal("csv_manifest", path=tmp_path / "nowhere.csv")
        with pytest.raises(UserError, match="has a header but no rows"):
            made("csv_manifest", path=tmp_path / "header.csv").parts(SHARD_MB)
