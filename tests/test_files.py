import errno
import json
from functools import partial

import pytest

from dfutils.errors import DatasetError
from dfutils.files import read_csv, read_json, replacing, write_csv, write_json, writing_error


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("killed")
    assert read_json(path) == {"old": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_json_never_holds_nan(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"auc": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_a_csv_comes_back_as_it_was_written(tmp_path):
    rows = [{"file": 'a,"b"\n.mp4', "label": "é"}]
    write_csv(tmp_path / "a.csv", ["file", "label"], rows)
    assert read_csv(tmp_path / "a.csv", ["label"]) == rows


@pytest.mark.parametrize("row", [{"file": 1}, {"file": 1, "label": 2, "more": 3}])
def test_a_row_with_other_keys_than_the_columns_is_refused(tmp_path, row):
    with pytest.raises(ValueError, match="keys differ"):
        write_csv(tmp_path / "a.csv", ["file", "label"], [row])


def test_a_missing_column_is_named_with_what_to_do(tmp_path):
    (tmp_path / "a.csv").write_text("file,x\n1,2\n")
    with pytest.raises(DatasetError, match=r"'label' is missing in its first line, which has: file, x\. Copy"):
        read_csv(tmp_path / "a.csv", ["file", "label"])
    with pytest.raises(DatasetError, match=r"which has: file, x\. Add it\.$"):
        read_csv(tmp_path / "a.csv", ["file", "label"], advice="Add it.")


@pytest.mark.parametrize("read", [read_json, partial(read_csv, columns=())], ids=["JSON", "CSV"])
def test_a_missing_file_is_named_with_what_to_do(tmp_path, read):
    with pytest.raises(DatasetError, match=r"a: cannot be read \(No such file or directory\)\. Copy its folder again"):
        read(tmp_path / "a")
    with pytest.raises(DatasetError, match=r"a: cannot be read \(No such file or directory\)\. Name another\.$"):
        read(tmp_path / "a", advice="Name another.")


def test_a_table_in_another_encoding_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("file\nmüller.mp4\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"a\.csv: is not a CSV in UTF-8 \(.*0xfc.*\)\. Save it as one"):
        read_csv(tmp_path / "a.csv", ["file"])


def test_a_damaged_json_is_a_clear_error(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(DatasetError, match="not valid JSON"):
        read_json(tmp_path / "a.json")


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(DatasetError, match=r"table\.csv: is a folder\. Give a file name"):
        write_csv(tmp_path / "table.csv", ["file"], [])
    assert [(path.name, path.is_dir()) for path in tmp_path.iterdir()] == [("table.csv", True)]


def test_a_full_disk_is_named_as_such(tmp_path):
    assert "disk is full" in str(writing_error(tmp_path, OSError(errno.ENOSPC, "No space left on device")))
