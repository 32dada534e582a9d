"""The package as a dataset: what an offline notebook installs and loads."""

import json
import zipfile
from pathlib import Path

import pytest
from built_wheel import build_or_skip
from stub import Holding, files_of

from dfutils import weights
from dfutils.errors import PublishError
from dfutils.publishing import package
from dfutils.publishing.rules import DATASET_FILE

PROJECT = Path(__file__).parents[2]
WHEEL = "dfutils-0.1.0-py3-none-any.whl"
YUNET = ("LICENSE", "face_detection_yunet_2023mar.onnx")


@pytest.fixture
def wheel(tmp_path):
    """Not the package, but named like its wheel."""
    path = tmp_path / "dist" / WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dfutils/__init__.py", "")
    return path


@pytest.fixture
def known_weights(tmp_path, monkeypatch):
    """One weight file that is there and one that is not."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "small.onnx").write_bytes(b"small")
    there = weights.WeightFile("small.onnx", 5, "md5:eb5c1399a871211c7e7ed732d15e3a8b", "made up")
    gone = weights.WeightFile("gone.h5", 5, "md5:0", "made up", url="https://nowhere.invalid/gone.h5")
    monkeypatch.setattr(package, "WEIGHT_FILES", {"small": there, "gone": gone})
    monkeypatch.setattr(weights, "WEIGHT_FILES", {"small": there, "gone": gone})
    monkeypatch.setenv("DFUTILS_WEIGHTS", str(folder))
    monkeypatch.delenv("DFUTILS_OFFLINE", raising=False)


def test_wheel_and_weights_arrive_byte_by_byte(publish, stub, wheel, known_weights, tmp_path):
    done = publish("package", wheel, "--push")
    assert done.exit_code == 0
    assert stub.datasets["some-one/dfutils"].versions == [{WHEEL: wheel.read_bytes(), "small.onnx": b"small"}]
    assert "not in it: gone.h5 (not found on this machine)" in done.stdout
    assert "not in it: av>=14" in done.stdout


def test_an_older_wheel_is_replaced_but_a_lost_weight_file_is_not_sent(publish, stub, wheel, known_weights):
    before = {"dfutils-0.0.9-py3-none-any.whl": b"old", "small.onnx": b"small", "gone.h5": b"was there"}
    stub.datasets["some-one/dfutils"] = Holding({}, [before])
    done = publish("package", wheel, "--push")
    assert done.exit_code == 1
    assert "would lack 1 of 3 files (gone.h5)" in done.reason


def test_the_wheels_that_the_image_lacks_are_asked_for_its_python(monkeypatch, tmp_path):
    asked = []

    def pip(*arguments):
        asked.extend(arguments)
        (tmp_path / "av-18.1.0-cp312-cp312-manylinux_2_28_x86_64.whl").write_bytes(b"wheel")

    monkeypatch.setattr(package, "run_pip", pip)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("av==18.1.0")
    assert [path.name for path in package.download_wheels(tmp_path, constraints=constraints)] == [
        "av-18.1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    ]
    assert asked[asked.index("--python-version") + 1] == "3.12"
    assert asked[asked.index("--constraint") + 1] == str(constraints)
    assert {"--only-binary=:all:", "cp312", "manylinux_2_28_x86_64"} <= set(asked)


def test_what_pip_cannot_do_is_one_line(tmp_path):
    with pytest.raises(PublishError, match=r"pip download: failed \(ERROR: .*pip needs its index"):
        package.download_wheels(tmp_path, ["--no-index", "no-such-package-at-all"])


def test_a_folder_without_a_project_is_refused(publish, tmp_path):
    assert "holds no pyproject.toml" in publish("package", tmp_path / "home").reason


def test_the_wheel_holds_the_sources_of_today_and_nothing_left_over(tmp_path):
    project = tmp_path / "project"
    (project / "dfutils").mkdir(parents=True)
    (project / "dfutils" / "__init__.py").write_text('__version__ = "0.1.0"\n')
    yunet = project / "dfutils" / "extraction" / "yunet"
    yunet.mkdir(parents=True)
    for name in YUNET:
        (yunet / name).write_text("text")
    (project / "build" / "lib" / "dfutils").mkdir(parents=True)
    (project / "build" / "lib" / "dfutils" / "deleted.py").write_text("")
    (project / "README.md").write_text("text")
    (project / "LICENSE").write_text("text")
    (project / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text())
    before = files_of(project)
    wheel = build_or_skip(project, tmp_path)
    assert package.index_is_reachable()  # else this test, and others, would never fail but skip
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    yunet_in_wheel = [f"dfutils/extraction/yunet/{name}" for name in YUNET]
    assert [name for name in names if name.startswith("dfutils/")] == ["dfutils/__init__.py", *yunet_in_wheel]
    assert "dfutils-0.1.0.dist-info/licenses/dfutils/extraction/yunet/LICENSE" in names
    assert files_of(project) == before


@pytest.mark.parametrize(
    ("is_reachable", "outcome"), [(True, PublishError), (False, pytest.skip.Exception)], ids=["reachable", "offline"]
)
def test_a_broken_build_fails_the_tests_and_only_a_missing_index_skips_them(monkeypatch, is_reachable, outcome):
    def build(*_):
        raise PublishError("pip wheel: failed (error: subprocess-exited-with-error).")

    monkeypatch.setattr(package, "build_wheel", build)
    monkeypatch.setattr(package, "index_is_reachable", lambda: is_reachable)
    with pytest.raises((PublishError, pytest.skip.Exception)) as raised:
        build_or_skip(PROJECT, Path())
    assert raised.type is outcome


def test_the_terms_of_the_weights_in_the_wheel_are_told_beside_those_of_the_code():
    path = PROJECT / "kaggle-metadata" / "datasets" / "dfutils" / DATASET_FILE
    description = json.loads(path.read_text())["description"]
    assert "code is under the MIT licence" in description
    assert "weights of a trained detector, for research and teaching only: not for commerce" in description


def test_the_metadata_of_the_package_is_staged_with_the_owner(publish, wheel, known_weights, tmp_path):
    assert publish("package", wheel, "--owner", "another-one").exit_code == 0
    assert json.loads((tmp_path / "to send" / DATASET_FILE).read_text())["id"] == "another-one/dfutils"
