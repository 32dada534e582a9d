"""Extraction of a catalogue is complete and resumable, by one process or by many, in one go or in shards."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dfutils.cli import main
from dfutils.errors import DatasetError, DfutilsError
from dfutils.extraction import extract as extract_module
from dfutils.extraction import work
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import encode_image, read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.extraction.shards import Shard, merge_datasets
from dfutils.files import read_csv, read_json, write_csv, write_json
from dfutils.records import Video
from dfutils.settings import ExtractionSettings, MediaLimits

SETTINGS = ExtractionSettings(size=96)


def contents(folder):
    """Every visible file and its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    }


def command(demo_labels, faces, *options):
    """Return the arguments of the command that does what the fixture ``extract`` does."""
    source, labels = str(demo_labels.parent), str(demo_labels)
    return ["extract", source, "--labels", labels, "--out", str(faces), "--size", "96", *options]


@pytest.fixture(scope="module")
def shards(extract, demo_labels, tmp_path_factory):
    """The demo catalogue in three shards, the first by two workers and the last by the command line."""
    folder = tmp_path_factory.mktemp("shards")
    extract(folder / "1", shard=Shard(1, 3), workers=2)
    extract(folder / "2", shard=Shard(2, 3))
    assert main(command(demo_labels, folder / "3", "--shard", "3/3")) == 0
    return [folder / str(index) for index in (1, 2, 3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_trusted_videos_give_the_same_crops_and_a_warning(extract, shards, tmp_path, workers, caplog):
    extract(tmp_path / "faces", workers=workers, trusted=True, shard=Shard(1, 3))
    assert "decoded without limits" in caplog.text
    ours, theirs = contents(tmp_path / "faces"), contents(shards[0])
    assert json.loads(ours.pop("extraction.json"))["trusted"] is True
    assert json.loads(theirs.pop("extraction.json"))["trusted"] is False
    assert ours == theirs


def test_a_second_call_extracts_nothing_again_even_with_other_limits(extract, demo_faces, tmp_path, monkeypatch):
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    monkeypatch.setattr(work, "extract_clips_safely", lambda *_args, **_kwargs: pytest.fail("extracted again"))
    extract(faces, limits=MediaLimits(wall_seconds=99.0))
    assert contents(faces) == contents(demo_faces)


def test_other_settings_or_another_shard_in_the_same_folder_are_refused(extract, shards):
    with pytest.raises(DatasetError, match=r"margin was 0\.0, now 0\.3"):
        extract(shards[0], shard=Shard(1, 3), margin=0.3)
    with pytest.raises(DatasetError, match="shard was 1/3, now 2/3"):
        extract(shards[0], shard=Shard(2, 3))


def test_a_replaced_file_is_extracted_again_and_a_copied_one_is_not(demo_videos, tmp_path, monkeypatch):
    first, second, other = (path.read_bytes() for path in demo_videos[:3])
    longest = max(map(len, (first, second, other)))
    first, second, other = (one + bytes(longest - len(one)) for one in (first, second, other))  # of equal size
    for label, content in (("real", first), ("fake", second)):
        (tmp_path / "videos" / label).mkdir(parents=True)
        (tmp_path / "videos" / label / f"{label}.mp4").write_bytes(content)
    real, faces = tmp_path / "videos/real/real.mp4", tmp_path / "faces"
    seen, original = [], work.extract_clips_safely
    monkeypatch.setattr(
        work,
        "extract_clips_safely",
        lambda path, *args, **kwargs: seen.append(path.name) or original(path, *args, **kwargs),
    )

    def run(**options):
        """Return the names of the files that were decoded."""
        seen.clear()
        extract_dataset(read_catalogue(tmp_path / "videos"), faces, settings=SETTINGS, progress=False, **options)
        return seen

    assert sorted(run()) == ["fake.mp4", "real.mp4"]
    before = contents(faces)
    os.utime(real, ns=(1, 1))  # as a copy has, whose content is the same
    assert run() == []
    assert contents(faces) == before
    modified = real.stat().st_mtime_ns
    real.write_bytes(other)
    assert run() == ["real.mp4"]
    assert contents(faces) != before
    real.write_bytes(first)
    os.utime(real, ns=(modified, modified))
    journal = (faces / ".journal.jsonl").read_text().splitlines()
    last = json.loads(journal[-1])
    last["modified_ns"] = modified  # what a file system with coarse times would have said
    (faces / ".journal.jsonl").write_text("\n".join([*journal[:-1], json.dumps(last), ""]))
    assert run() == []
    assert run(verify=True) == ["real.mp4"]
    assert contents(faces) == before


def test_clips_of_files_of_one_name_have_folders_of_their_own():
    """Data sets of frames name the pictures of every video alike."""
    assert len({work.clip_id(f"{video:05d}/00.png", 0) for video in range(1000)}) == 1000


def test_two_clips_of_one_folder_are_refused_before_anything_is_written(extract, tmp_path, monkeypatch):
    monkeypatch.setattr(extract_module, "clip_id", lambda _video, track: f"same-{track}")
    with pytest.raises(DatasetError, match="its clips would have the folder of"):
        extract(tmp_path / "faces")
    assert not (tmp_path / "faces").exists()


def test_an_extraction_that_is_interrupted_and_then_killed_continues_to_the_same_dataset(
    extract, demo_labels, demo_faces, tmp_path, caplog
):
    faces = tmp_path / "faces"
    journal = faces / ".journal.jsonl"
    # Tests that run in the background of a shell ignore SIGINT, and so would their children.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    silent = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    finished = 0
    for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        arguments = [sys.executable, "-m", "dfutils", *command(demo_labels, faces)]
        with subprocess.Popen(arguments, **silent, preexec_fn=listening) as process:  # noqa: PLW1509
            deadline = time.monotonic() + 120
            while not (journal.exists() and journal.read_text().count("\n") >= finished + 2):
                assert process.poll() is None, "finished before it could be interrupted"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            with pytest.raises(DatasetError, match="faces: another job is writing there"):
                extract(faces)
            process.send_signal(how)
            assert process.wait(30) == code
        assert not (faces / "manifest.csv").exists()
        finished = journal.read_text().count("\n")
    with journal.open("a") as file:
        file.write('{"video": "videos/half a li')  # what a kill in the middle of a write leaves
    with caplog.at_level("INFO"):
        extract(faces)
    assert f"{finished} of 12 videos are already finished" in caplog.text
    assert contents(faces) == contents(demo_faces)
    assert not (faces / ".partial").exists()


def test_after_a_full_disk_the_same_command_continues(demo_labels, shards, tmp_path, capsys, caplog):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(map(len, contents(shards[2]).values())) // 2
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    again = command(demo_labels, disk / "faces", "--shard", "3/3")
    try:
        assert main(again) == 1
        assert "The disk is full" in capsys.readouterr().err
        assert not (disk / "faces" / "manifest.csv").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        with caplog.at_level("INFO"):
            assert main(again) == 0
        assert "are already finished" in caplog.text
        assert contents(disk / "faces") == contents(shards[2])
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_is_a_clear_error(extract, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        extract(tmp_path / "file" / "faces")


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("manifest.csv", Path.unlink, "not a finished face dataset"),
        ("extraction.json", lambda path: path.write_text("{}"), "settings"),
        (
            "manifest.csv",
            lambda path: path.write_text(path.read_text().splitlines()[0]),
            r"faces: holds no clips. See skipped\.csv for the reasons",
        ),
        (
            "manifest.csv",
            lambda path: path.write_text(path.read_text().replace("true", "1")),
            r"manifest\.csv: the row of 'person_\w+-\w+-0' is damaged \('1'\)\. Copy or extract the dataset again",
        ),
        ("real/*/03.png", Path.unlink, "cannot be read"),
        ("real/*/03.png", lambda path: path.write_bytes(b"x"), "is not a crop"),
        ("frames.csv", lambda path: path.write_text(path.read_text()[:-300]), "frames.csv has"),
    ],
)
def test_a_damaged_dataset_is_a_clear_error(demo_faces, tmp_path, file, damage, message):
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    damage(next(faces.glob(file)))
    with pytest.raises(DfutilsError, match=message):
        for row in (dataset := read_face_dataset(faces)).rows:
            dataset.load_clip(row)


def test_a_crop_larger_than_its_format_allows_is_an_error():
    with pytest.raises(DatasetError, match=r"shape \(1, 70000, 3\) cannot be encoded as jpg\. Choose a smaller size"):
        encode_image(np.zeros((1, 70_000, 3), np.uint8), image_format="jpg")


def test_a_video_that_disappears_while_it_is_read_is_skipped_and_leaves_nothing(demo_videos, tmp_path, monkeypatch):
    path = Path(shutil.copy(demo_videos[0], tmp_path / "here.mp4"))
    extract = work.extract_clips_safely

    def extract_and_lose(*args, **kwargs):
        extraction = extract(*args, **kwargs)
        path.unlink()
        return extraction

    monkeypatch.setattr(work, "extract_clips_safely", extract_and_lose)
    entry = work.extract_one(Video(path, "here.mp4", False, "g", "d"), work.Job(tmp_path / "faces", SETTINGS))
    assert entry["skipped"]["reason"] == "unreadable"
    assert entry["skipped"]["detail"] == (
        "here.mp4: disappeared while it was read (No such file or directory). Extract again."
    )
    assert (entry["clips"], entry["frames"], list(tmp_path.iterdir())) == ([], [], [])


def test_a_fault_of_the_decoder_skips_a_trusted_file_and_not_the_others(demo_videos, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise ValueError("plane 3 is missing")

    monkeypatch.setattr(work, "extract_clips", fail)
    job = work.Job(tmp_path / "faces", SETTINGS, trusted=True)
    entry = work.extract_one(Video(demo_videos[0], "a.mp4", False, "g", "d"), job)
    assert entry["skipped"]["detail"] == (
        "a.mp4: decoding failed (ValueError('plane 3 is missing')). Re-encode or skip the file."
    )
    assert (entry["clips"], list(tmp_path.iterdir())) == ([], [])


def test_a_cluster_without_dask_or_a_scheduler_says_what_to_do(extract, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(work, "CONNECTION_SECONDS", 1)
    with pytest.raises(DfutilsError, match="no Dask scheduler answers"):
        extract(tmp_path / "faces", scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DfutilsError, match=r"^tcp://127\.0\.0\.1:9: Dask is not installed\. .*'\.\[cluster\]'"):
        extract(tmp_path / "faces", scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "faces" / "manifest.csv").exists()


def test_a_cluster_that_loses_a_worker_makes_the_same_dataset(extract, demo_faces, tmp_path):
    distributed = pytest.importorskip("distributed")
    killed = []

    def kill_one_when_it_works():
        journal = tmp_path / "faces" / ".journal.jsonl"
        while not journal.exists():
            time.sleep(0.02)
        killed.append(cluster.workers[0].pid)
        os.kill(killed[0], signal.SIGKILL)

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        threading.Thread(target=kill_one_when_it_works, daemon=True).start()
        summary = extract(tmp_path / "faces", scheduler=cluster.scheduler_address)
    assert killed
    assert summary.videos == summary.extracted == 12
    assert contents(tmp_path / "faces") == contents(demo_faces)


def test_a_dataset_from_before_notes_and_skipping_is_read_continued_and_merged(extract, demo_faces, tmp_path):
    old = shutil.copytree(demo_faces, tmp_path / "old")
    about = read_json(old / "extraction.json")
    del about["settings"]["incomplete"]
    write_json(old / "extraction.json", about)
    rows = read_csv(old / "manifest.csv", ("clip_id",))
    columns = [name for name in rows[0] if name != "note"]
    write_csv(old / "manifest.csv", columns, [{name: row[name] for name in columns} for row in rows])
    journal = (old / ".journal.jsonl").read_text()
    assert ', "note": ""' in journal
    (old / ".journal.jsonl").write_text(journal.replace(', "note": ""', ""))
    assert read_face_dataset(old).rows == read_face_dataset(demo_faces).rows
    merge_datasets([old], tmp_path / "merged")
    assert read_face_dataset(tmp_path / "merged").rows == read_face_dataset(demo_faces).rows
    (old / "manifest.csv").unlink()
    assert extract(old).extracted == 12
    assert (old / "manifest.csv").read_bytes() == (demo_faces / "manifest.csv").read_bytes()


def with_sorted_tables(folder):
    """The content of a dataset whose rows may be in another order."""
    return {
        name: sorted(content.splitlines()) if name.endswith(".csv") else content
        for name, content in contents(folder).items()
    }


def test_merged_shards_are_the_dataset_that_one_run_makes(shards, demo_faces, tmp_path, capsys):
    parts = [{row.video for row in read_face_dataset(shard).rows} for shard in shards]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert len(set.union(*parts)) == 12
    faces = tmp_path / "faces"
    assert main(["merge", *map(str, shards), "--out", str(faces), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []
    assert with_sorted_tables(faces) == with_sorted_tables(demo_faces)
    dataset = read_face_dataset(faces)
    assert dataset.settings == SETTINGS
    assert {row.is_fake for row in dataset.rows} == {True, False}
    assert dataset.load_clip(dataset.rows[0]).shape == (10, 96, 96, 3)
    # A merge that was interrupted is made again.
    (faces / "manifest.csv").unlink()
    next(faces.glob("real/*/00.png")).unlink()
    merge_datasets(shards, faces)
    assert with_sorted_tables(faces) == with_sorted_tables(demo_faces)


def test_missing_shards_are_named(shards, tmp_path, caplog):
    summary = merge_datasets(shards[:2], tmp_path / "faces")
    assert summary.missing == ("3/3",)
    assert "Shards 3/3 were not given" in caplog.text


def changed(shard, folder, **about):
    """Copy a shard, and change entries of what it says about its extraction; a dictionary changes one level below."""
    shutil.copytree(shard, folder)
    said = read_json(folder / "extraction.json")
    said |= {name: {**said[name], **new} if isinstance(new, dict) else new for name, new in about.items()}
    write_json(folder / "extraction.json", said)
    return folder


def test_datasets_that_do_not_belong_together_are_not_merged(shards, tmp_path):
    with pytest.raises(DatasetError, match="Give each shard once"):
        merge_datasets([shards[0], shards[0]], tmp_path / "twice")
    other = changed(shards[1], tmp_path / "other settings", settings={"margin": 0.3})
    with pytest.raises(DatasetError, match=r"margin was 0\.0, now 0\.3"):
        merge_datasets([shards[0], other], tmp_path / "mixed")
    other = changed(shards[1], tmp_path / "other catalogue", catalogue="0123")
    with pytest.raises(DatasetError, match="catalogue was"):
        merge_datasets([shards[0], other], tmp_path / "of another catalogue")
    (other / "manifest.csv").unlink()
    with pytest.raises(DatasetError, match="not a finished face dataset"):
        merge_datasets([shards[0], other], tmp_path / "half")
    with pytest.raises(DatasetError, match="already holds a face dataset"):
        merge_datasets(shards[:2], shards[2])


@pytest.mark.parametrize("order", [1, -1])
def test_a_shard_whose_settings_still_name_the_face_detector_merges_with_one_whose_do_not(shards, tmp_path, order):
    older = changed(shards[1], tmp_path / "older", settings={"detector": "yunet"})
    merge_datasets([shards[0], older][::order], tmp_path / "faces")
    assert len(read_face_dataset(tmp_path / "faces").rows) == 8


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2", ""])
def test_a_malformed_shard_is_refused(text):
    with pytest.raises(DfutilsError, match="is not a shard"):
        Shard.parse(text)
