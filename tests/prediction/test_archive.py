"""Verdict folders: complete, continued after any end, divided and joined, and never mixed with other results."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("openvino")
pytest.importorskip("pyarrow")

import hostile_corpus
import numpy as np
import PIL.Image
import pyarrow as pa
from pyarrow import parquet

from dfutils.cli import main
from dfutils.errors import CatalogueError, DatasetError, ReportError
from dfutils.extraction.shards import WHOLE, Shard
from dfutils.extraction.tables import append_journal, read_journal
from dfutils.extraction.video import iter_frames
from dfutils.files import only_job, write_csv
from dfutils.prediction import archive
from dfutils.prediction.archive import ArchiveItem, predict_archive, read_archive
from dfutils.prediction.verdict_folder import merge_verdicts, read_verdicts

CLIPS = 4


@pytest.fixture(scope="module")
def demo_image(demo_videos, tmp_path_factory):
    """A frame of a clip, as a JPEG."""
    path = tmp_path_factory.mktemp("images") / "frame.jpg"
    frame = next(iter_frames(demo_videos[0])).image()
    PIL.Image.fromarray(frame).save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def manifest(demo_videos, tmp_path_factory):
    """Four clips, a text file and a file that does not exist."""
    folder = tmp_path_factory.mktemp("archive")
    rows = []
    for number, video in enumerate(demo_videos[:CLIPS]):
        shutil.copy(video, folder / f"clip-{number}.mp4")
        rows.append({"file": f"clip-{number}.mp4", "id": f"case {number}"})
    (folder / "notes.mp4").write_text("no video")
    rows += [{"file": "notes.mp4", "id": "notes"}, {"file": "missing.mp4", "id": "missing"}]
    write_csv(folder / "archive.csv", ("file", "id"), rows)
    return folder / "archive.csv"


@pytest.fixture(scope="module")
def items(manifest):
    return read_archive(manifest)


@pytest.fixture(scope="module")
def whole(detector, items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "verdicts"
    predict_archive(detector, items, folder, shard=WHOLE, progress=False)
    return folder


def results(folder):
    """All that a row says but how long it took."""
    return {row["id"]: {**row, "seconds": None} for row in read_verdicts(folder)}


def rows_of_parts(folder):
    return [row for part in sorted(folder.glob("part-*")) for row in parquet.read_table(part).to_pylist()]


def test_every_file_has_the_verdict_that_predict_gives(whole, detector, items):
    rows = results(whole)
    assert list(rows) == [item.id for item in items]
    for item in items:
        verdict, row = detector.predict(item.path), rows[item.id]
        assert (row["label"], row["reason"], row["detail"]) == (verdict.label, verdict.reason, verdict.detail)
        assert row["fake_probability"] == verdict.fake_probability
        assert (row["person"], row["is_incomplete"]) == (verdict.person, verdict.is_incomplete)
    assert [row["status"] for row in rows.values()] == ["scored"] * CLIPS + ["error"] * 2
    tracks = json.loads(rows_of_parts(whole)[0]["tracks"])
    assert tracks[0]["frames"][0]["box"]
    assert {path.name for path in whole.iterdir()} == {"job.json", "part-00000.parquet", "progress.jsonl"}


def command(manifest, folder, run):
    words = ["predict", "--manifest", manifest, "--out", folder, "--model", run, "--engine", "openvino"]
    return [sys.executable, "-m", "dfutils", *map(str, words)]


def started(manifest, folder, run):
    """Start the job, and return once the first verdict is on the disk."""
    job = subprocess.Popen(command(manifest, folder, run), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    journal, deadline = folder / ".journal.jsonl", time.monotonic() + 120
    while not (journal.is_file() and journal.read_text().count("\n")):
        assert time.monotonic() < deadline
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.01)
    return job


def test_a_killed_job_is_continued_to_the_same_verdicts(whole, manifest, demo_run, tmp_path):
    folder = tmp_path / "verdicts"
    job = started(manifest, folder, demo_run)
    job.kill()
    job.communicate()
    done = len((folder / ".journal.jsonl").read_text().splitlines())
    assert 0 < done < 6
    with (folder / ".journal.jsonl").open("a") as file:  # a line that was cut off
        file.write('{"id": "case 3", "inp')
    said = subprocess.run(command(manifest, folder, demo_run), capture_output=True, text=True, check=True).stderr
    assert f"{done} of 6 files are already finished" in said
    assert results(folder) == results(whole)
    assert len(rows_of_parts(folder)) == 6


def test_after_a_full_disk_the_same_command_continues(whole, manifest, demo_run, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        full = subprocess.run(command(manifest, disk / "v", demo_run), capture_output=True, text=True, check=False)
        assert full.returncode == 1
        assert "The disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        subprocess.run(command(manifest, disk / "v", demo_run), capture_output=True, check=True)
        assert results(disk / "v") == results(whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_hostile_files_cost_only_their_own_verdicts(detector, demo_image, tmp_path):
    """One file in twenty is hostile: among 200 pictures, these ten kinds."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    image = demo_image
    kinds = {
        "text.jpg": b"no picture",
        "empty.jpg": b"",
        "cut.jpg": image.read_bytes()[:300],
        "page.jpg": b"<!doctype html>",
        "archive.jpg": b"PK\x03\x04" + bytes(100),
        "huge.png": hostile_corpus.png(60000, 60000),
        "huge.jpg": hostile_corpus.jpeg(60000, 60000),
        "noise.mp4": np.random.default_rng(0).bytes(5000),
        "flat.png": hostile_corpus.png(64, 64, rows=bytes(65 * 64)),
    }
    for name, content in kinds.items():
        (corpus / name).write_bytes(content)
    hostile = [corpus / name for name in kinds] + [corpus / "none.jpg"]
    files = [hostile[number // 20] if number % 20 == 7 else image for number in range(200)]
    items = [ArchiveItem(str(number), path) for number, path in enumerate(files)]
    summary = predict_archive(detector, items, tmp_path / "verdicts", shard=WHOLE, workers=2, progress=False)
    good = detector.predict(image)
    for number, row in results(tmp_path / "verdicts").items():
        if files[int(number)] == image:
            assert (row["label"], row["fake_probability"]) == (good.label, good.fake_probability)
        else:
            assert (row["label"], row["fake_probability"]) == ("UNDECIDED", None), row
    assert sum(summary.labels.values()) == 200
    assert summary.labels[good.label] + summary.labels["UNDECIDED"] == 200


def test_sigterm_finishes_the_file_at_hand_and_ends(manifest, demo_run, tmp_path):
    folder = tmp_path / "verdicts"
    job = started(manifest, folder, demo_run)
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 128 + signal.SIGTERM
    job.communicate()
    rows = rows_of_parts(folder)
    assert 0 < len(rows) < 6
    assert not (folder / ".journal.jsonl").exists()


def test_rows_that_are_in_a_part_and_in_the_journal_are_read_once(whole, detector, items, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "verdicts")
    rows = rows_of_parts(folder)
    (folder / ".journal.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))  # killed in between
    predict_archive(detector, items, folder, shard=WHOLE, progress=False)
    assert len(rows_of_parts(folder)) == len(rows)


def test_shards_are_joined_to_the_whole(whole, detector, items, tmp_path, caplog):
    shards = [tmp_path / f"part-{index}" for index in (1, 2)]
    for index, folder in enumerate(shards, start=1):
        predict_archive(detector, items, folder, shard=Shard(index, 2), progress=False)
    summary = merge_verdicts(shards, tmp_path / "joined")
    assert results(tmp_path / "joined") == results(whole)
    assert summary.labels["UNDECIDED"] >= 2
    assert dict(summary.errors) == {"error": 2}
    with pytest.raises(DatasetError, match="already holds verdicts"):
        merge_verdicts(shards, tmp_path / "joined")
    with pytest.raises(DatasetError, match="part-1: holds case 0, and so does .*part-1. Give each shard once"):
        merge_verdicts([shards[0], shards[0]], tmp_path / "twice")
    merge_verdicts(shards[:1], tmp_path / "half")
    assert "Shards 2/2 were not given" in caplog.text


def test_a_shard_that_was_ended_early_is_not_joined(detector, items, tmp_path, monkeypatch):
    folder = tmp_path / "part-1"
    predict_archive(detector, items, folder, shard=Shard(1, 2), progress=False)
    table = parquet.read_table(folder / "part-00000.parquet")
    parquet.write_table(table.slice(0, 2), folder / "part-00000.parquet")  # as SIGTERM leaves it
    with pytest.raises(DatasetError, match="part-1: has verdicts on 2 of 3 files"):
        merge_verdicts([folder], tmp_path / "joined")


def test_what_a_failed_merge_left_is_not_kept(detector, whole, items, tmp_path):
    joined = tmp_path / "joined"
    joined.mkdir()
    shutil.copy(whole / "part-00000.parquet", joined / "part-00007.parquet")
    merge_verdicts([whole], joined)
    assert len(rows_of_parts(joined)) == len(items)


def test_a_name_that_is_not_unicode_is_written_with_escapes(detector, tmp_path):
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.mp4"))
    items = [ArchiveItem.of(str(odd), odd)]
    predict_archive(detector, items, tmp_path / "verdicts", shard=WHOLE, progress=False)
    predict_archive(detector, items, tmp_path / "verdicts", shard=WHOLE, progress=False)
    (row,) = rows_of_parts(tmp_path / "verdicts")
    assert row["id"] == row["input"] == f"{tmp_path}/caf\\udce9.mp4"


def test_a_row_after_a_line_that_was_cut_off_is_kept(tmp_path):
    (tmp_path / ".journal.jsonl").write_text('{"id": "a", "inp')
    append_journal(tmp_path, {"id": "b"})
    append_journal(tmp_path, {"id": "c"})
    assert list(read_journal(tmp_path)) == [{"id": "b"}, {"id": "c"}]


def test_the_same_archive_is_continued_from_another_folder(whole, detector, manifest, items, monkeypatch):
    monkeypatch.chdir(manifest.parent)
    same = read_archive(Path("archive.csv"))
    assert same[0].path != items[0].path
    assert predict_archive(detector, same, whole, shard=WHOLE, progress=False).inputs == len(items)


def test_verdicts_of_another_detector_are_not_joined(whole, detector, items, tmp_path):
    rare = predict_archive(detector.for_prior(0.1), items, tmp_path / "rare", shard=WHOLE, progress=False).folder
    with pytest.raises(DatasetError, match="rare: was made with another prior than"):
        merge_verdicts([whole, rare], tmp_path / "joined")


def test_a_folder_of_another_job_is_refused_by_what_differs(whole, detector, items):
    with pytest.raises(DatasetError, match=r"was started with another prior: 0\.5 before, now 0\.1"):
        predict_archive(detector.for_prior(0.1), items, whole, shard=WHOLE, progress=False)
    with pytest.raises(DatasetError, match="was started with another list of files"):
        predict_archive(detector, items[:2], whole, shard=WHOLE, progress=False)
    with pytest.raises(DatasetError, match="another shard: 1/1 before, now 1/2"):
        predict_archive(detector, items, whole, shard=Shard(1, 2), progress=False)


def test_two_jobs_in_one_folder_are_refused(detector, items, tmp_path):
    with only_job(tmp_path / "verdicts"), pytest.raises(DatasetError, match="another job is writing there"):
        predict_archive(detector, items, tmp_path / "verdicts", shard=WHOLE, progress=False)


def test_a_broken_file_is_tried_three_times_and_then_quarantined(detector, tmp_path):
    lost = [ArchiveItem("lost", tmp_path / "lost.mp4")]
    lost[0].path.write_text("no video")

    def statuses(**options):
        predict_archive(detector, lost, tmp_path / "verdicts", shard=WHOLE, progress=False, **options)
        return [(row["status"], row["attempts"]) for row in read_verdicts(tmp_path / "verdicts")]

    assert statuses() == [("error", 1)]
    assert statuses() == [("error", 1)]
    assert statuses(retry_errors=True) == [("error", 2)]
    assert statuses(retry_errors=True) == [("quarantined", 3)]
    assert statuses(retry_errors=True) == [("quarantined", 3)]
    merge_verdicts([tmp_path / "verdicts"], tmp_path / "joined")
    assert [row["attempts"] for row in rows_of_parts(tmp_path / "joined")] == [3]


def test_a_file_that_is_not_there_is_never_given_up(detector, tmp_path):
    away = [ArchiveItem("away", tmp_path / "away.mp4")]
    for _ in range(4):
        predict_archive(detector, away, tmp_path / "verdicts", shard=WHOLE, retry_errors=True, progress=False)
    assert [(row["status"], row["attempts"]) for row in read_verdicts(tmp_path / "verdicts")] == [("error", 4)]


def test_a_file_that_was_mended_is_scored_when_it_is_tried_again(detector, demo_videos, tmp_path):
    late = [ArchiveItem("late", tmp_path / "late.mp4")]
    predict_archive(detector, late, tmp_path / "verdicts", shard=WHOLE, progress=False)
    shutil.copy(demo_videos[0], tmp_path / "late.mp4")
    predict_archive(detector, late, tmp_path / "verdicts", shard=WHOLE, retry_errors=True, progress=False)
    (row,) = read_verdicts(tmp_path / "verdicts")
    assert (row["status"], row["attempts"]) == ("scored", 2)


def test_too_many_errors_end_the_job_and_keep_its_verdicts(detector, tmp_path):
    lost = [ArchiveItem(str(number), tmp_path / f"{number}.mp4") for number in range(40)]
    with pytest.raises(
        ReportError, match="20 of the last 20 files could not be read, more than --max-error-rate 0.5 allows"
    ):
        predict_archive(detector, lost, tmp_path / "verdicts", shard=WHOLE, max_error_rate=0.5, progress=False)
    assert len(list(read_verdicts(tmp_path / "verdicts"))) == archive.FEWEST_FOR_A_RATE
    # What is tried again does not end the job.
    some = lost[: archive.FEWEST_FOR_A_RATE]
    folder = tmp_path / "again"
    predict_archive(detector, some, folder, shard=WHOLE, progress=False)
    predict_archive(detector, some, folder, shard=WHOLE, retry_errors=True, max_error_rate=0.5, progress=False)
    assert {row["attempts"] for row in read_verdicts(folder)} == {2}


def test_a_damaged_part_is_named_and_made_again_once_it_is_deleted(whole, detector, items, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "verdicts")
    part = folder / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"part-00000\.parquet: is missing or damaged"):
        predict_archive(detector, items, folder, shard=WHOLE, progress=False)
    part.unlink()
    predict_archive(detector, items, folder, shard=WHOLE, progress=False)
    assert results(folder) == results(whole)


def test_parts_are_written_as_the_job_goes_on(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "ROWS_OF_A_PART", 3)
    lost = [ArchiveItem(str(number), tmp_path / f"{number}.mp4") for number in range(7)]
    predict_archive(detector, lost, tmp_path / "verdicts", shard=WHOLE, progress=False)
    assert [parquet.read_table(part).num_rows for part in sorted((tmp_path / "verdicts").glob("part-*"))] == [3, 3, 1]


def test_the_progress_is_told_to_machines(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "PROGRESS_SECONDS", 0)
    lost = [ArchiveItem(str(number), tmp_path / f"{number}.mp4") for number in range(3)]
    predict_archive(detector, lost, tmp_path / "verdicts", shard=WHOLE, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "verdicts" / "progress.jsonl").read_text().splitlines()]
    assert [line["done"] for line in lines] == [1, 2, 3, 3]
    assert lines[-1] | {"per_hour": 0} == {
        "done": 3, "total": 3, "per_hour": 0, "seconds_left": 0, "errors": 3
    }  # fmt: skip


def test_a_manifest_may_be_parquet_and_needs_no_ids(manifest, tmp_path):
    table = pa.table({"file": ["a.mp4", "/films/b.mp4"]})
    parquet.write_table(table, tmp_path / "archive.parquet")
    assert read_archive(tmp_path / "archive.parquet") == [
        ArchiveItem("a.mp4", tmp_path / "a.mp4", "a.mp4"),
        ArchiveItem("/films/b.mp4", Path("/films/b.mp4"), "/films/b.mp4"),
    ]
    assert read_archive(manifest)[0] == ArchiveItem("case 0", manifest.parent / "clip-0.mp4", "clip-0.mp4")
    parquet.write_table(pa.table({"file": ["a.mp4", "b.mp4"], "id": [0, 1]}), tmp_path / "numbers.parquet")
    assert [item.id for item in read_archive(tmp_path / "numbers.parquet")] == ["0", "1"]
    with pytest.raises(DatasetError, match=r"none\.parquet: is missing or damaged"):
        read_archive(tmp_path / "none.parquet")


def test_a_manifest_without_files_or_with_equal_ids_is_refused(tmp_path):
    write_csv(tmp_path / "a.csv", ("file", "id"), [{"file": f"{n}.mp4", "id": "one"} for n in range(2)])
    with pytest.raises(CatalogueError, match=r"a\.csv: one is there twice. Give each file an id of its own"):
        read_archive(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("path\na\n")
    with pytest.raises(DatasetError, match=r"column 'file' is missing .* has: path\. Name the files of the archive"):
        read_archive(tmp_path / "b.csv")
    parquet.write_table(pa.table({"path": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(CatalogueError, match=r"b\.parquet: has no column file"):
        read_archive(tmp_path / "b.parquet")
    parquet.write_table(pa.table({"file": ["a.mp4", None]}), tmp_path / "c.parquet")
    with pytest.raises(CatalogueError, match=r"c\.parquet: names no file in row 2"):
        read_archive(tmp_path / "c.parquet")


def test_a_folder_without_verdicts_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="holds no verdicts"):
        list(read_verdicts(tmp_path))


def test_without_pyarrow_the_extra_is_named(monkeypatch, detector, items, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DatasetError, match=r"verdict folders need it.*\[archive\]"):
        predict_archive(detector, items, tmp_path / "verdicts", shard=WHOLE)
    assert not (tmp_path / "verdicts").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "verdicts"], "are required: INPUT, or --manifest FILE"),
        (["a.mp4", "--manifest", "a.csv", "--out", "verdicts"], "--manifest names the inputs"),
        (["a.mp4", "--shard", "1/2"], "need a verdict folder: give --out"),
        (["a.mp4", "--out", "verdicts", "--csv", "a.csv"], "--out writes a verdict folder: omit --csv"),
        (["a.mp4", "--out", "verdicts", "--max-error-rate", "0"], "--max-error-rate: must be above 0"),
    ],
)
def test_wrong_use_is_refused(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["predict", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_commands_work_on_a_folder_of_files(manifest, demo_run, tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(manifest.parent / "clip-0.mp4", folder)
    verdicts = str(tmp_path / "verdicts")
    words = ["predict", str(folder), "--model", str(demo_run), "--engine", "openvino", "--out", verdicts]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == 1
    assert main(["merge", verdicts, "--out", str(tmp_path / "joined")]) == 0
    assert "1 of 1 files have a verdict" in capsys.readouterr().out
    assert len(list(read_verdicts(tmp_path / "joined"))) == 1
