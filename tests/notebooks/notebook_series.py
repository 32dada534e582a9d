"""The committed notebooks."""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
NAMES = ["01-extract-motion-faces", "02-publish-dataset", "03-train", "04-evaluate", "05-predict"]
