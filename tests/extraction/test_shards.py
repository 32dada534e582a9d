"""Shards and merging, trusted videos, and a cluster that loses a worker."""

import json
import os
import shutil
import signal
import threading
import time

import pytest

from dfutils.cli import main
from dfutils.errors import DatasetError, DfutilsError
from dfutils.extraction.dataset import read_face_dataset
from dfutils.extraction.shards import Shard, merge_datasets
from dfutils.settings import MediaLimits


def contents(folder):
    """Every visible file and its bytes; tables as sorted rows."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }
    return {name: sorted(content.splitlines()) if name.endswith(".csv") else content for name, content in files.items()}


@pytest.fixture(scope="module")
def shards(extract, demo_labels, tmp_path_factory):
    """The demo catalogue in three shards, the last one by the command line."""
    folder = tmp_path_factory.mktemp("shards")
    for index in (1, 2):
        extract(folder / str(index), shard=Shard(index, 3))
    command = ["extract", demo_labels.parent, "--labels", demo_labels, "--out", folder / "3", "--shard", "3/3"]
    assert main([str(part) for part in [*command, "--size", 96]]) == 0
    return [folder / str(index) for index in (1, 2, 3)]


def test_merged_shards_are_the_dataset_that_one_run_makes(shards, demo_faces, tmp_path, capsys):
    assert main(["merge", *map(str, shards), "--out", str(tmp_path / "faces"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []
    assert contents(tmp_path / "faces") == contents(demo_faces)
    dataset = read_face_dataset(tmp_path / "faces")
    assert dataset.load_clip(dataset.rows[0]).shape == (10, 96, 96, 3)


def test_every_shard_has_work_and_no_video_is_in_two(shards):
    parts = [{row.video for row in read_face_dataset(shard).rows} for shard in shards]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert len(set.union(*parts)) == 12


def test_missing_shards_are_named(shards, tmp_path, caplog):
    summary = merge_datasets(shards[:2], tmp_path / "faces")
    assert summary.missing == ("3/3",)
    assert "Shards 3/3 were not given" in caplog.text


def test_a_merge_that_was_interrupted_is_made_again(shards, demo_faces, tmp_path):
    merge_datasets(shards, tmp_path / "faces")
    (tmp_path / "faces" / "manifest.csv").unlink()
    next((tmp_path / "faces").glob("real/*/00.png")).unlink()
    merge_datasets(shards, tmp_path / "faces")
    assert contents(tmp_path / "faces") == contents(demo_faces)


def test_datasets_that_do_not_belong_together_are_not_merged(shards, tmp_path):
    with pytest.raises(DatasetError, match="Give each shard once"):
        merge_datasets([shards[0], shards[0]], tmp_path / "twice")
    other = shutil.copytree(shards[1], tmp_path / "other")
    about = json.loads((other / "extraction.json").read_text())
    about["settings"]["margin"] = 0.3
    (other / "extraction.json").write_text(json.dumps(about))
    with pytest.raises(DatasetError, match=r"margin was 0\.0, now 0\.3"):
        merge_datasets([shards[0], other], tmp_path / "mixed")
    about["settings"]["margin"], about["catalogue"] = 0.0, "0123"
    (other / "extraction.json").write_text(json.dumps(about))
    with pytest.raises(DatasetError, match="catalogue was"):
        merge_datasets([shards[0], other], tmp_path / "of another catalogue")
    (other / "manifest.csv").unlink()
    with pytest.raises(DatasetError, match="not a finished face dataset"):
        merge_datasets([shards[0], other], tmp_path / "half")
    with pytest.raises(DatasetError, match="already holds a face dataset"):
        merge_datasets(shards[:2], shards[2])


@pytest.mark.parametrize("order", [1, -1])
def test_a_shard_whose_settings_still_name_the_face_detector_merges_with_one_whose_do_not(shards, tmp_path, order):
    older = shutil.copytree(shards[1], tmp_path / "older")
    about = json.loads((older / "extraction.json").read_text())
    about["settings"]["detector"] = "yunet"
    (older / "extraction.json").write_text(json.dumps(about))
    merge_datasets([shards[0], older][::order], tmp_path / "faces")
    assert len(read_face_dataset(tmp_path / "faces").rows) == 8


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", ""])
def test_a_malformed_shard_is_refused(text):
    with pytest.raises(DfutilsError, match="is not a shard"):
        Shard.parse(text)


def test_the_shard_of_a_folder_cannot_change(shards, extract):
    with pytest.raises(DatasetError, match="shard was 1/3, now 2/3"):
        extract(shards[0], shard=Shard(2, 3))


def test_other_limits_do_not_make_another_dataset(shards, extract):
    extract(shards[0], shard=Shard(1, 3), limits=MediaLimits(wall_seconds=99.0))


@pytest.mark.parametrize("workers", [1, 2])
def test_trusted_videos_give_the_same_crops_and_a_warning(extract, demo_faces, tmp_path, workers, caplog):
    extract(tmp_path / "faces", workers=workers, trusted=True)
    assert "decoded without limits" in caplog.text
    ours, theirs = contents(tmp_path / "faces"), contents(demo_faces)
    assert json.loads(ours.pop("extraction.json"))["trusted"] is True
    assert json.loads(theirs.pop("extraction.json"))["trusted"] is False
    assert ours == theirs


def test_a_scheduler_that_does_not_answer_is_a_clear_error(extract, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("dfutils.extraction.work.CONNECTION_SECONDS", 1)
    with pytest.raises(DfutilsError, match="no Dask scheduler answers"):
        extract(tmp_path / "faces", scheduler="tcp://127.0.0.1:9")


def test_a_cluster_that_loses_a_worker_makes_the_same_dataset(extract, demo_faces, tmp_path):
    distributed = pytest.importorskip("distributed")
    killed = []

    def kill_one_when_it_works():
        journal = tmp_path / "faces" / ".journal.jsonl"
        while not journal.exists():
            time.sleep(0.02)
        killed.append(cluster.workers[0].pid)
        os.kill(killed[0], signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        threading.Thread(target=kill_one_when_it_works, daemon=True).start()
        summary = extract(tmp_path / "faces", scheduler=cluster.scheduler_address)
    assert killed
    assert summary.videos == summary.extracted == 12
    assert contents(tmp_path / "faces") == contents(demo_faces)
