"""The package as a dataset: what an offline notebook installs and loads."""

import contextlib
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from built_wheel import build_or_skip
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from stub import Holding, files_of

from dfutils import weights
from dfutils.errors import PublishError
from dfutils.publishing import package
from dfutils.publishing.kaggle import Kaggle
from dfutils.publishing.metadata import DATASET_FILE
from dfutils.publishing.package import IMAGE_PYTHONS, LACKING, runs_on
from dfutils.publishing.push import check_not_poorer

PROJECT = Path(__file__).parents[2]
WHEEL = "dfutils-0.1.0-py3-none-any.whl"
AV_312 = "av-14.2.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
AV_313 = "av-14.2.0-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
AV_ABI3 = "av-18.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"


@pytest.fixture
def wheel(tmp_path):
    """A small file with the name of the package's wheel."""
    path = tmp_path / "dist" / WHEEL
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dfutils/__init__.py", "")
    return path


@pytest.fixture(autouse=True)
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


@pytest.fixture
def index(monkeypatch):
    """Stands for pip and its index: gives, for each Python, the wheel in this dictionary; keeps what it was asked."""
    wheels, asked = {"3.12": AV_312, "3.13": AV_313}, []

    def pip(*arguments):
        asked.append(arguments)
        python = arguments[arguments.index("--python-version") + 1]
        if python not in wheels:
            raise PublishError("pip download: failed (ERROR: No matching distribution found for av==18.1.0).")
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir(exist_ok=True)
        (folder / wheels[python]).write_bytes(b"wheel")

    monkeypatch.setattr(package, "run_pip", pip)
    return SimpleNamespace(wheels=wheels, asked=asked)


def test_without_wheels_the_wheel_and_the_weights_are_staged_and_what_lacks_is_named(publish, wheel, tmp_path):
    done = publish("package", wheel, "--owner", "another-one")
    staged = files_of(tmp_path / "to send")
    metadata = json.loads(staged.pop(DATASET_FILE))
    assert metadata["id"] == "another-one/dfutils"
    assert staged == {WHEEL: wheel.read_bytes(), "small.onnx": b"small"}
    assert "not in it: gone.h5 (not found on this machine)" in done.stdout
    assert f"not in it: {LACKING[0]}" in done.stdout


def test_an_older_wheel_is_replaced_but_lost_weights_and_pythons_are_not_sent(publish, stub, wheel):
    before = {"dfutils-0.0.9-py3-none-any.whl": b"old", "small.onnx": b"small", "gone.h5": b"there", AV_312: b"wheel"}
    stub.datasets["some-one/dfutils"] = Holding({"title": "dfutils"}, [before])
    reason = publish("package", wheel, "--push").reason
    assert f"would lack 2 of 4 files ({AV_312}, gone.h5). Nothing was sent" in reason
    assert not stub.called("StartBlobUpload")


@pytest.mark.parametrize(
    ("before", "staged", "lost"),
    [
        (["dfutils-0.1.0-py3-none-any.whl"], ["dfutils-0.2.0-py3-none-any.whl"], False),
        ([AV_312], ["dfutils-0.2.0-py3-none-any.whl"], True),
        ([AV_312, AV_313], [AV_312], True),
        ([AV_312, AV_313], [AV_313], True),
        ([AV_312, AV_313], [AV_ABI3], False),
        ([AV_ABI3], [AV_312, AV_313], False),
        ([AV_ABI3], [AV_313], True),
        (["av-13.0.0-cp310-cp310-manylinux_2_17_x86_64.whl"], [AV_312], False),
        (["manifest.csv", "real/a/00.png"], ["manifest.csv", "real/a/01.png"], True),
        ([], ["manifest.csv"], False),
    ],
    ids=[
        *("newer wheel", "other wheel", "without Python 3.13", "without Python 3.12", "one for both", "two for one"),
        *("one for both, then without Python 3.12", "for a Python the image no longer has", "crop", "nothing yet"),
    ],
)
def test_only_a_wheel_that_serves_the_same_pythons_replaces_another_file(before, staged, lost):
    check_not_poorer("it", before, staged, allowed=True)
    with pytest.raises(PublishError, match="--fewer-files") if lost else contextlib.nullcontext():
        check_not_poorer("it", before, staged, allowed=False)


def test_the_wheels_that_the_image_lacks_are_asked_for_each_of_its_pythons(index, tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("av==18.1.0")
    assert [path.name for path in package.download_wheels(tmp_path, constraints=constraints)] == [AV_312, AV_313]
    for asked, python, abi in zip(index.asked, ["3.12", "3.13"], ["cp312", "cp313"], strict=True):
        assert asked[asked.index("--python-version") + 1] == python
        assert asked[asked.index("--constraint") + 1] == str(constraints)
        assert {"--only-binary=:all:", abi, "abi3", "manylinux_2_28_x86_64"} <= set(asked)


@pytest.mark.usefixtures("index")
def test_wheels_for_both_pythons_lie_side_by_side_and_arrive_byte_by_byte(publish, stub, wheel):
    done = publish("package", wheel, "--with-wheels", "--push")
    assert done.exit_code == 0
    sent = {AV_312: b"wheel", AV_313: b"wheel", WHEEL: wheel.read_bytes(), "small.onnx": b"small"}
    assert stub.datasets["some-one/dfutils"].versions == [sent]
    assert f"in it, for Python 3.12 and 3.13: {WHEEL}, {AV_312}, {AV_313}, small.onnx" in done.stdout


def test_a_wheel_that_serves_both_pythons_is_staged_once(publish, index, wheel, tmp_path):
    index.wheels.update({"3.12": AV_ABI3, "3.13": AV_ABI3})
    assert publish("package", wheel, "--with-wheels").exit_code == 0
    assert sorted(files_of(tmp_path / "to send", but=[DATASET_FILE])) == [AV_ABI3, WHEEL, "small.onnx"]


@pytest.mark.parametrize(
    ("wheels", "reason"),
    [
        ({"3.12": AV_312}, "wheels for Python 3.13: pip download: "),
        ({"3.12": AV_312, "3.13": AV_312}, f"av: has no wheel for Python 3.13 (only {AV_312})."),
        ({"3.12": AV_313, "3.13": AV_313}, f"av: has no wheel for Python 3.12 (only {AV_313})."),
    ],
    ids=["none for 3.13", "3.12 only", "3.13 only"],
)
def test_a_python_without_a_wheel_is_named_and_nothing_staged(*, publish, index, wheel, tmp_path, wheels, reason):
    index.wheels.clear()
    index.wheels.update(wheels)
    assert publish("package", wheel, "--with-wheels").reason.startswith(reason)
    assert not (tmp_path / "to send").exists()


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("command", [["create"], ["version", "-m", "notes"]], ids=["create", "version"])
def test_the_client_refuses_to_send_without_a_staged_file(publish, stub, wheel, tmp_path, command):
    assert publish("package", wheel, "--with-wheels").exit_code == 0
    staging = tmp_path / "to send"
    named = [one["path"] for one in json.loads((staging / DATASET_FILE).read_text())["resources"]]
    assert sorted(named) == sorted(files_of(staging, but=[DATASET_FILE]))
    (staging / AV_312).unlink()
    answer = Kaggle(timeout_seconds=60).run("datasets", *command, "-p", str(staging))
    assert f"{AV_312} does not exist" in answer.reason
    assert not stub.called("StartBlobUpload")


@pytest.mark.parametrize(
    ("name", "pythons"),
    [
        (WHEEL, ["3.12", "3.13"]),
        ("six-1.17.0-py2.py3-none-any.whl", ["3.12", "3.13"]),
        (AV_312, ["3.12"]),
        (AV_313, ["3.13"]),
        (AV_ABI3, ["3.12", "3.13"]),
        ("av-18.1.0-1-cp313-abi3-manylinux_2_28_x86_64.whl", ["3.13"]),
        ("av-18.1.0-cp313-cp313t-manylinux_2_28_x86_64.whl", []),
        ("av-18.1.0-cp311-abi3-macosx_14_0_arm64.whl", []),
        ("av-18.1.0-cp311-abi3-manylinux_2_28_aarch64.whl", []),
        ("old-1.0-py2-none-any.whl", []),
        ("av.whl", []),
    ],
)
def test_a_wheel_runs_on_the_pythons_that_pip_would_install_it_on(name, pythons):
    assert [python for python in IMAGE_PYTHONS if runs_on(name, python)] == pythons
    with contextlib.suppress(InvalidWheelFilename):
        tags = parse_wheel_filename(name)[3]
        assert [python for python in IMAGE_PYTHONS if tags & tags_of(python)] == pythons


def tags_of(python):
    version, abi = tuple(map(int, python.split("."))), f"cp{python.replace('.', '')}"
    platforms = [*package.IMAGE_PLATFORMS]
    return {*cpython_tags(version, [abi], platforms), *compatible_tags(version, abi, platforms)}


def test_a_failure_of_pip_is_one_line(tmp_path):
    with pytest.raises(PublishError, match=r"pip download: failed \(ERROR: .*pip needs its package index"):
        package.download_wheels(tmp_path, ["--no-index", "no-such-package-at-all"])


def test_a_pip_that_makes_no_wheel_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(package, "run_pip", lambda *_: None)
    with pytest.raises(PublishError, match=r"pip made no wheel\. Run `pip wheel --no-deps \.` in the project's folder"):
        package.build_wheel(PROJECT, tmp_path)


def test_a_folder_without_a_project_is_refused(publish, tmp_path):
    assert "holds no pyproject.toml" in publish("package", tmp_path / "home").reason


def test_the_wheel_holds_the_sources_of_today_and_nothing_left_over(tmp_path):
    yunet = [f"dfutils/extraction/yunet/{name}" for name in ("LICENSE", "face_detection_yunet_2023mar.onnx")]
    project = tmp_path / "project"
    for name in ("dfutils/__init__.py", *yunet, "build/lib/dfutils/deleted.py", "README.md", "LICENSE"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text('__version__ = "0.1.0"\n')
    (project / "pyproject.toml").write_text((PROJECT / "pyproject.toml").read_text())
    before = files_of(project)
    wheel = build_or_skip(project, tmp_path)
    assert package.index_is_reachable()  # else this test, and others, would never fail but skip
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [name for name in names if name.startswith("dfutils/")] == ["dfutils/__init__.py", *yunet]
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


def test_the_terms_of_the_weights_in_the_wheel_stand_beside_those_of_the_code():
    path = PROJECT / "kaggle-metadata" / "datasets" / "dfutils" / DATASET_FILE
    description = json.loads(path.read_text())["description"]
    assert "code is under the MIT licence" in description
    assert "weights of a trained detector, for research and teaching only, neither for commercial use" in description
