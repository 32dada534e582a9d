"""Train one fold in a process of its own: ``python -m dfutils.training.fold_process``, for workers of a cluster.

In a worker, threads of the cluster draw from Python's random numbers too, and a fold would start from other weights
than elsewhere. The request is one line of JSON on stdin, the answer one on stdout. The process ends when its stdin is
closed, so that a killed worker leaves none behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from dfutils.errors import DfutilsError, RunError
from dfutils.settings import TrainingSettings

_training = threading.Lock()
"""Held while a fold is trained: a worker with several threads would give all of them too little memory."""


def train_in_process(
    faces: Path, run: Path, *, settings: TrainingSettings, folds: int, fold: int, folder: Path | None = None
) -> None:
    """Run `dfutils.training.folds.train_fold` in a new process, one at a time.

    Args:
        faces: As for `train_fold`.
        run: As for `train_fold`.
        settings: As for `train_fold`.
        folds: As for `train_fold`.
        fold: As for `train_fold`.
        folder: Where relative paths in the settings begin; by default here.

    Raises:
        RunError: It failed; the message is that of the process.
    """
    request = {
        "faces": str(faces),
        "run": str(run),
        "settings": settings.model_dump(mode="json"),
        "folds": folds,
        "fold": fold,
    }
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *sys.path]))
    with (
        _training,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "dfutils.training.fold_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.read().decode(errors="replace").strip()
        process.stdin.close()
    if process.returncode > 0 and answer:
        raise RunError(json.loads(answer.splitlines()[-1])["error"])
    if process.returncode:
        raise RunError(
            f"fold {fold}: its process ended with code {process.returncode}; memory may be short, or the log of the "
            "worker says why. Repeat the command to continue."
        )


def main() -> int:
    """Answer one request."""
    request = json.loads(sys.stdin.readline())

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    from dfutils.training.folds import train_fold

    try:
        train_fold(
            Path(request["faces"]),
            Path(request["run"]),
            settings=TrainingSettings.model_validate(request["settings"]),
            folds=request["folds"],
            fold=request["fold"],
            progress=False,
        )
    except Exception as error:
        said = str(error) if isinstance(error, DfutilsError) else f"fold {request['fold']}: failed ({error!r})."
        sys.stdout.write(f"\n{json.dumps({'error': said})}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
