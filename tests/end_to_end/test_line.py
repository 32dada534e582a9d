"""The whole line, on a handful of made-up clips and, where it is at hand, on real data."""

import json
import os
import re
from pathlib import Path

import pytest

from dfutils.cli import main
from dfutils.demo.pipeline import run_demo
from dfutils.errors import WeightsError
from dfutils.pretrained import DEFAULT, resolve_detector
from dfutils.report.verdict_words import ONLY_FACES
from dfutils.runs.record import DetectorRecord
from dfutils.weights import find_weights


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo"), people=6, progress=False)


def test_the_demo_ends_with_a_report_and_verdicts(demo):
    metrics = json.loads((demo.folder / "report" / "metrics.json").read_text())
    assert metrics == demo.metrics
    assert metrics["videos"] >= 2
    html = (demo.folder / "report" / "report.html").read_text()
    assert "drawn by a program" in html
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", html)
    assert [verdict.reason for verdict in demo.verdicts][-1] == "no_face"


def test_the_demo_trains_a_head_on_the_backbone_of_the_shipped_detector(demo):
    shipped = DetectorRecord.read(resolve_detector(DEFAULT) / "detector.json")
    trained = DetectorRecord.read(demo.folder / "run" / "detector.json")
    assert trained.backbone_checksum == shipped.weights_sha256
    assert trained.extraction.size == shipped.extraction.size


def test_the_demo_says_that_it_is_made_up(demo):
    assert any("made up" in line for line in demo.lines())
    assert demo.lines().count(ONLY_FACES) == 1


def test_a_second_demo_is_quick_and_the_same(demo):
    again = run_demo(demo.folder, people=6, progress=False)
    assert again.metrics == demo.metrics


@pytest.mark.skipif("DFUTILS_REAL_DATA" not in os.environ, reason="$DFUTILS_REAL_DATA names no folder of real videos")
def test_the_line_runs_on_real_videos(tmp_path, capsys):
    data = Path(os.environ["DFUTILS_REAL_DATA"])
    try:
        find_weights("nsfwjs")
    except WeightsError as error:
        pytest.skip(str(error))
    faces, run, report = (str(tmp_path / name) for name in ("faces", "run", "report"))
    extract = ["extract", str(data), "--labels", str(data / "videos.csv"), "--out", faces, "--workers", "2", "--json"]
    assert main(extract) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["extracted"] >= 123
    assert summary["videos"] == summary["extracted"] + sum(summary["skipped"].values()) == 125
    assert main(["train", faces, "--out", run, "--json"]) == 0
    assert main(["evaluate", run, faces, "--out", report, "--json"]) == 0
    assert (Path(report) / "report.html").is_file()
