"""The package's wheel beside OpenCV 4.13 and 5, each alone in a fresh environment: it imports, and it extracts faces.

``python tests/kaggle_image/check_wheel.py`` needs pip's index.
"""

import csv
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path

from dfutils.publishing.package import build_wheel

PROJECT = Path(__file__).parents[2]
VERSIONS = ("4.13.0.92", "5.0.0.93")
LIGHT = (f"numpy=={metadata.version('numpy')}", "av==18.1.0", "joblib", "pillow", "pydantic>=2.5", "tqdm")
"""What extraction needs; Kaggle's image has all but av, and the numpy that is installed here."""
PEOPLE = 3

IMPORTS = """
import importlib, pkgutil, dfutils, cv2
names = [one.name for one in pkgutil.walk_packages(dfutils.__path__, "dfutils.") if not one.name.endswith("__main__")]
light = [name for name in names if name.split(".")[1] in ("extraction", "publishing", "demo", "records", "settings",
                                                          "weights", "files", "errors", "cli", "prediction")]
heavy = ("dfutils.demo.pipeline",)  # runs a training
for name in light:
    if name not in heavy:
        importlib.import_module(name)
print(len(light), "modules,", dfutils.__file__)
"""
CLIPS = f"""
from pathlib import Path
from dfutils.demo.clips import DemoSettings, make_demo_videos
make_demo_videos(Path("source"), settings=DemoSettings(people={PEOPLE}, seconds=2.0))
"""


def check(version: str, wheel: Path, folder: Path) -> str:
    """Install and use the wheel beside one version of OpenCV; what was found, in a line."""
    python = folder / "python" / "bin" / "python"
    venv.create(folder / "python", with_pip=True)
    pip = [python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"opencv-python-headless=={version}", *LIGHT], check=True)
    subprocess.run([*pip, "--no-index", "--no-deps", "--find-links", wheel.parent, "dfutils"], check=True)

    def run(*arguments: str) -> str:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "DFUTILS_OFFLINE": "1"}
        command = [python, *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"OpenCV {version}: {' '.join(arguments)[:60]}\n{done.stderr[-2000:]}")
        return done.stdout.strip()

    said = run("-c", IMPORTS)
    if str(folder) not in said:
        raise SystemExit(f"OpenCV {version}: the package comes from elsewhere ({said}).")
    run("-c", CLIPS)
    run("-m", "dfutils", "extract", "source", "--labels", "source/labels.csv", "--out", "faces")
    with (folder / "faces" / "manifest.csv").open() as file:
        clips = len(list(csv.DictReader(file)))
    if clips != 2 * PEOPLE:
        raise SystemExit(f"OpenCV {version}: {clips} of {2 * PEOPLE} clips were extracted.")
    return f"OpenCV {version}: {said.split(',')[0]} import, {clips} clips extracted"


def main() -> None:
    """Check every version."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "wheel").mkdir()
        wheel = build_wheel(PROJECT, Path(scratch) / "wheel")
        for version in VERSIONS:
            folder = Path(scratch) / version
            folder.mkdir()
            sys.stdout.write(check(version, wheel, folder) + "\n")


if __name__ == "__main__":
    main()
