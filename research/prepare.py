"""Write what the second generation is trained and measured on: label files, the split of DFDC's crops, and the start.

    python -m research.prepare WORK DATA MORE

DATA holds ``dfdc_faces.csv`` (file,label,group,person) and ``videos.csv`` (file,label,dataset,group), MORE has
``more.csv`` (file,label,dataset,group) with photographs, talking heads and modern fakes. WORK receives ``sets/``,
``dfdc_split.json`` and four starting points, as ``research/README.md`` describes them; files are linked.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dfutils.files import read_csv, replacing, sha256_of, write_csv, write_json
from dfutils.records import ClipRow
from dfutils.settings import SplitSettings
from dfutils.training.splits import split_videos

COLUMNS = ("file", "label", "dataset", "group")
MOST_OF_A_PERSON = 2
"""Photographs of one person of LFW: half of its people have one, and one of them has 530."""
MOST_OF_UTKFACE = 6_000
STARTS = {
    "start": "c5f18a6:dfutils/pretrained/inception-cross-1",
    "first_release": "e0d011f:dfutils/pretrained/inception-cross-1",
    "second_release": "02468c6:dfutils/pretrained/inception-cross-2",
    "third_release": "a89bea2:dfutils/pretrained/inception-cross-3",
}
"""Where this repository's history holds candidates X and S of the first release, and the second and third releases, by
their folders in WORK."""


def shuffled(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows in an order that depends on the names of their files alone."""
    return sorted(rows, key=lambda row: hashlib.sha256(row["file"].encode()).hexdigest())


def linked(work: Path, name: str, folder: Path, rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return label rows whose files are in ``sets/NAME``, a link to ``folder``."""
    link = work / "sets" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(folder.resolve(), target_is_directory=True)
    return [{**row, "file": f"{name}/{row['file']}"} for row in rows]


def first_release_split(work: Path, rows: Iterable[dict[str, str]]) -> dict[str, str]:
    """Return the split of each DFDC crop, 80/10/10 by person, as in the first release."""
    clips = [
        ClipRow(
            clip_id=row["file"],
            video=row["file"],
            is_fake=row["label"] == "FAKE",
            dataset="dfdc",
            group=row["group"],
            split=None,
            track=0,
            frames=1,
            width=0,
            height=0,
            fps=0.0,
            duration_seconds=0.0,
            size_bytes=0,
            sha256=sha256_of(work / "sets" / row["file"]),
        )
        for row in rows
    ]
    return dict(split_videos(clips, SplitSettings(test_fraction=0.1, validation_fraction=1 / 9, seed=0)))


def chosen_photos(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the photographs to train on: few of each person, and of each data set a number of the same order."""
    taken: Counter[str] = Counter()
    chosen = []
    for row in shuffled(rows):
        key = row["group"] if row["dataset"] == "lfw" else row["dataset"]
        most = {"lfw": MOST_OF_A_PERSON, "utkface": MOST_OF_UTKFACE}.get(row["dataset"])
        taken[key] += 1
        if most is None or taken[key] <= most:
            chosen.append(row)
    return chosen


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="outside the repository: it holds faces of people")
    parser.add_argument("data", type=Path, help="folder with dfdc_faces.csv and videos.csv")
    parser.add_argument("more", type=Path, help="folder with more.csv")
    options = parser.parse_args()
    work = options.work
    dfdc = linked(
        work,
        "data",
        options.data,
        (
            {**row, "dataset": "dfdc", "group": row["person"]}
            for row in read_csv(options.data / "dfdc_faces.csv", ("person",))
        ),
    )
    ffpp = linked(work, "data", options.data, read_csv(options.data / "videos.csv", COLUMNS))
    more = linked(work, "more", options.more, read_csv(options.more / "more.csv", COLUMNS))
    split = first_release_split(work, dfdc)
    write_json(work / "dfdc_split.json", split)
    sets = {
        "dfdc": dfdc,
        "photos": chosen_photos(row for row in more if row["dataset"] in ("lfw", "utkface", "ffhq")),
        "celeba": [row for row in more if row["dataset"] == "celeba"],
        "clips": ffpp + [row for row in more if row["dataset"].startswith(("talking", "echomimic", "edtalk"))],
    }
    for name, rows in sets.items():
        write_csv(work / "sets" / f"{name}.csv", COLUMNS, ({column: row[column] for column in COLUMNS} for row in rows))
        print(f"{name}: {len(rows):,} files, {len({row['group'] for row in rows}):,} groups")
    for split_name, count in Counter((split[row["file"]], row["label"]) for row in dfdc).items():
        print("dfdc", *split_name, f"{count:,}")
    for name, place in STARTS.items():
        (work / name).mkdir(exist_ok=True)
        has_familiarity = name in ("second_release", "third_release")
        for file in ("model.weights.h5", "detector.json", *(["familiarity.npz"] if has_familiarity else [])):
            with replacing(work / name / file) as part, part.open("wb") as target:
                subprocess.run(["git", "show", f"{place}/{file}"], stdout=target, check=True)


if __name__ == "__main__":
    main()
