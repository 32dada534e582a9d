"""Extraction of a catalogue is complete and resumable."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dfutils.errors import DatasetError, DfutilsError
from dfutils.extraction import extract as extract_module
from dfutils.extraction import work
from dfutils.extraction.catalogue import read_catalogue
from dfutils.extraction.dataset import encode_image, read_face_dataset
from dfutils.extraction.extract import extract_dataset
from dfutils.extraction.shards import merge_datasets
from dfutils.files import only_job, read_csv, read_json, write_csv, write_json
from dfutils.records import Video
from dfutils.settings import ExtractionSettings

SETTINGS = ExtractionSettings(size=96)


def contents(folder):
    """Every visible file and its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_two_workers_make_the_same_dataset_as_one(extract, demo_faces, tmp_path):
    extract(tmp_path / "faces", workers=2)
    assert contents(tmp_path / "faces") == contents(demo_faces)


def test_a_dataset_reads_back_what_was_cut(demo_faces):
    dataset = read_face_dataset(demo_faces)
    assert len(dataset.rows) == 12
    assert {row.is_fake for row in dataset.rows} == {True, False}
    clip = dataset.load_clip(dataset.rows[0])
    assert clip.shape == (10, 96, 96, 3)
    assert dataset.settings == SETTINGS


def test_a_second_call_extracts_nothing_again(extract, demo_faces, tmp_path, monkeypatch):
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    monkeypatch.setattr(work, "extract_clips_safely", lambda *_args, **_kwargs: pytest.fail("extracted again"))
    extract(faces)
    assert contents(faces) == contents(demo_faces)


def extracted_again(monkeypatch):
    """Count the files that are decoded from now on."""
    seen, original = [], work.extract_clips_safely
    monkeypatch.setattr(
        work,
        "extract_clips_safely",
        lambda path, *args, **kwargs: seen.append(path.name) or original(path, *args, **kwargs),
    )
    return seen


def test_a_replaced_file_is_extracted_again_and_a_copied_one_is_not(demo_videos, tmp_path, monkeypatch):
    first, second, other = (path.read_bytes() for path in demo_videos[:3])
    longest = max(map(len, (first, second, other)))
    first, second, other = (one + bytes(longest - len(one)) for one in (first, second, other))  # of equal size
    for label, content in (("real", first), ("fake", second)):
        (tmp_path / "videos" / label).mkdir(parents=True)
        (tmp_path / "videos" / label / f"{label}.mp4").write_bytes(content)
    real = tmp_path / "videos/real/real.mp4"

    def run(**options):
        return extract_dataset(
            read_catalogue(tmp_path / "videos"), tmp_path / "faces", settings=SETTINGS, progress=False, **options
        )

    run()
    before = contents(tmp_path / "faces")
    seen = extracted_again(monkeypatch)
    os.utime(real, ns=(1, 1))  # as a copy has, whose content is the same
    run()
    assert (seen, contents(tmp_path / "faces")) == ([], before)
    modified = real.stat().st_mtime_ns
    real.write_bytes(other)
    run()
    assert seen == ["real.mp4"]
    assert contents(tmp_path / "faces") != before
    real.write_bytes(first)
    os.utime(real, ns=(modified, modified))
    journal = (tmp_path / "faces" / ".journal.jsonl").read_text().splitlines()
    last = json.loads(journal[-1])
    last["modified_ns"] = modified  # what a file system with coarse times would have said
    (tmp_path / "faces" / ".journal.jsonl").write_text("\n".join([*journal[:-1], json.dumps(last), ""]))
    run()
    assert seen == ["real.mp4"]
    run(verify=True)
    assert seen == ["real.mp4"] * 2
    assert contents(tmp_path / "faces") == before


def test_a_second_job_in_one_folder_says_so_and_ends(extract, tmp_path):
    with only_job(tmp_path / "faces"), pytest.raises(DatasetError, match=r"faces: another job is writing there"):
        extract(tmp_path / "faces")
    assert not any((tmp_path / "faces").iterdir())


def test_the_lock_of_a_killed_job_is_gone(tmp_path):
    holder = "import sys, time; from pathlib import Path; from dfutils.files import only_job\n"
    holder += "with only_job(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holder, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(DatasetError, match="another job"), only_job(tmp_path):
            pass
        process.kill()
    with only_job(tmp_path):
        pass


def test_clips_of_files_of_one_name_have_folders_of_their_own():
    """Data sets of frames name the pictures of every video alike."""
    assert len({work.clip_id(f"{video:05d}/00.png", 0) for video in range(100_000)}) == 100_000


def test_two_clips_of_one_folder_are_refused_before_anything_is_written(extract, tmp_path, monkeypatch):
    monkeypatch.setattr(extract_module, "clip_id", lambda _video, track: f"same-{track}")
    with pytest.raises(DatasetError, match="its clips would have the folder of"):
        extract(tmp_path / "faces")
    assert not (tmp_path / "faces").exists()


def test_other_settings_in_the_same_folder_are_refused(extract, demo_faces):
    with pytest.raises(DatasetError, match=r"margin was 0\.0, now 0\.3"):
        extract(demo_faces, margin=0.3)


def command(source, labels, faces):
    return [
        sys.executable, "-m", "dfutils", "extract", str(source), "--labels", str(labels), "--out", str(faces),
        "--size", "96",
    ]  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_extraction_continues_to_the_same_dataset(demo_labels, demo_faces, tmp_path, how):
    faces = tmp_path / "faces"
    started = command(demo_labels.parent, demo_labels, faces)
    # Tests that run in the background of a shell ignore SIGINT, and so would their children.
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    silent = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(started, **silent, preexec_fn=listening) as process:  # noqa: PLW1509
        journal = faces / ".journal.jsonl"
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_text().count("\n") >= 2):
            assert process.poll() is None, "finished before it could be interrupted"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(how)
        assert process.wait(30) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert not (faces / "manifest.csv").exists()
    with journal.open("a") as file:
        file.write('{"video": "videos/half a li')  # what a kill in the middle of a write leaves
    finished_before = journal.read_text().count("\n")
    done = subprocess.run(started, capture_output=True, text=True, check=True)
    assert f"{finished_before} of 12 videos are already finished" in done.stderr
    assert contents(faces) == contents(demo_faces)
    assert not (faces / ".partial").exists()


def test_after_a_full_disk_the_same_command_continues(demo_labels, demo_faces, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(len(content) for content in contents(demo_faces).values()) // 2
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        started = command(demo_labels.parent, demo_labels, disk / "faces")
        full = subprocess.run(started, capture_output=True, text=True, check=False)
        assert full.returncode == 1
        assert "The disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        assert not (disk / "faces" / "manifest.csv").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        again = subprocess.run(started, capture_output=True, text=True, check=True)
        assert "are already finished" in again.stderr
        assert contents(disk / "faces") == contents(demo_faces)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_is_a_clear_error(extract, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        extract(tmp_path / "file" / "faces")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda faces: (faces / "manifest.csv").unlink(), "not a finished face dataset"),
        (lambda faces: (faces / "extraction.json").write_text("{}"), "settings"),
        (
            lambda faces: (faces / "manifest.csv").write_text((faces / "manifest.csv").read_text().splitlines()[0]),
            r"faces: holds no clips. See skipped\.csv for the reasons",
        ),
        (
            lambda faces: (faces / "manifest.csv").write_text(
                (faces / "manifest.csv").read_text().replace("true", "1")
            ),
            r"manifest\.csv: the row of 'person_\w+-\w+-0' is damaged \('1'\)\. Copy or extract the dataset again",
        ),
        (lambda faces: next(faces.glob("real/*/03.png")).unlink(), "cannot be read"),
        (lambda faces: next(faces.glob("real/*/03.png")).write_bytes(b"x"), "is not a crop"),
        (lambda faces: (faces / "frames.csv").write_text((faces / "frames.csv").read_text()[:-300]), "frames.csv has"),
    ],
)
def test_a_damaged_dataset_is_a_clear_error(demo_faces, tmp_path, damage, message):
    faces = shutil.copytree(demo_faces, tmp_path / "faces")
    damage(faces)
    with pytest.raises(Exception, match=message) as caught:
        for row in (dataset := read_face_dataset(faces)).rows:
            dataset.load_clip(row)
    assert "dfutils.errors" in type(caught.value).__module__


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


def test_a_cluster_without_dask_says_what_to_install(extract, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DfutilsError, match=r"^tcp://127\.0\.0\.1:9: Dask is not installed\. .*'\.\[cluster\]'"):
        extract(tmp_path / "faces", scheduler="tcp://127.0.0.1:9")
    assert not (tmp_path / "faces" / "manifest.csv").exists()


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
    journal = journal.replace(', "note": ""', "")
    (old / ".journal.jsonl").write_text(journal)
    assert read_face_dataset(old).rows == read_face_dataset(demo_faces).rows
    merge_datasets([old], tmp_path / "merged")
    assert read_face_dataset(tmp_path / "merged").rows == read_face_dataset(demo_faces).rows
    (old / "manifest.csv").unlink()
    assert extract(old).extracted == 12
    assert (old / "manifest.csv").read_bytes() == (demo_faces / "manifest.csv").read_bytes()
