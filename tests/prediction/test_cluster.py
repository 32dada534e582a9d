"""Verdicts from a real Dask cluster: those of one machine, also when it loses a worker or its scheduler."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("distributed")
pytest.importorskip("openvino")
pytest.importorskip("pyarrow")

import distributed

from dfutils.errors import DatasetError, DfutilsError
from dfutils.extraction.shards import WHOLE
from dfutils.prediction import cluster
from dfutils.prediction.archive import ArchiveItem, predict_archive
from dfutils.prediction.detector import load_detector
from dfutils.prediction.verdict_folder import read_verdicts

SCHEDULER = """
import sys, time
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def items(demo_videos, tmp_path_factory):
    """Twelve clips and a text file."""
    text = tmp_path_factory.mktemp("text") / "notes.mp4"
    text.write_text("no video")
    return [ArchiveItem(str(number), path) for number, path in enumerate([*demo_videos[:12], text])]


@pytest.fixture(scope="module")
def alone(detector, items, tmp_path_factory):
    """The rows of one machine."""
    folder = tmp_path_factory.mktemp("alone") / "verdicts"
    predict_archive(detector, items, folder, shard=WHOLE, progress=False)
    return results(folder)


def results(folder):
    return {row["id"]: {**row, "seconds": None} for row in read_verdicts(folder)}


def when_it_works(folder, action):
    """Call ``action`` in a thread as soon as the first verdict is on the disk."""

    def wait():
        while not (folder / ".journal.jsonl").exists():
            time.sleep(0.01)
        action()

    threading.Thread(target=wait, daemon=True).start()


@pytest.fixture(autouse=True)
def short_tasks(monkeypatch):
    """Two files per task, so that a cluster has something to lose."""
    monkeypatch.setattr(cluster, "FILES_OF_A_TASK", 2)
    monkeypatch.setattr(cluster, "TASKS_PER_WORKER", 1)


def test_a_cluster_that_loses_a_worker_gives_the_same_verdicts(detector, items, alone, tmp_path):
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as workers:
        pids = [worker.pid for worker in workers.workers.values()]
        when_it_works(tmp_path / "verdicts", lambda: os.kill(pids[0], signal.SIGKILL))
        predict_archive(
            detector, items, tmp_path / "verdicts", shard=WHOLE, scheduler=workers.scheduler_address, progress=False
        )
        assert pids[0] not in [worker.pid for worker in workers.workers.values()]
        assert results(tmp_path / "verdicts") == alone

        # Another detector under the same path, for which the workers' copy is no longer the right one.
        folder = shutil.copytree(detector.folder, tmp_path / "run")
        other = load_detector(folder, engine="openvino")
        other.settings = other.settings.model_copy(update={"threshold": 0.123})
        with pytest.raises(DatasetError, match="a worker has another detector under this path"):
            predict_archive(
                other, items, tmp_path / "other", shard=WHOLE, scheduler=workers.scheduler_address, progress=False
            )


def test_a_lost_scheduler_ends_the_job_and_loses_nothing(detector, items, alone, tmp_path):
    started = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    address = started.stdout.readline().strip()
    folder = tmp_path / "verdicts"
    when_it_works(folder, lambda: os.killpg(started.pid, signal.SIGKILL))
    with pytest.raises(DfutilsError, match=f"{address}: the Dask scheduler was lost"):
        predict_archive(detector, items, folder, shard=WHOLE, scheduler=address, progress=False)
    started.communicate()
    assert 0 < len(results(folder)) < len(items)
    predict_archive(detector, items, folder, shard=WHOLE, progress=False)
    assert results(folder) == alone


def test_a_scheduler_that_does_not_answer_is_named(detector, items, tmp_path, monkeypatch):
    monkeypatch.setattr("dfutils.extraction.work.CONNECTION_SECONDS", 1)
    with pytest.raises(DfutilsError, match="no Dask scheduler answers"):
        predict_archive(
            detector, items, tmp_path / "verdicts", shard=WHOLE, scheduler="tcp://127.0.0.1:9", progress=False
        )
