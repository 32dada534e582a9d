"""The ablation: who is trained on, who chooses the epoch and who is measured, and the table."""

from types import SimpleNamespace

import pytest

from benchmarks import ablation


@pytest.fixture
def crops(monkeypatch):
    """Sixty people with four crops each, as candidate X's splits deal them."""
    rows = [SimpleNamespace(video=f"{person}-{k}", group=f"p{person}") for person in range(60) for k in range(4)]
    parts = {"train": range(40), "validation": range(40, 52), "test": range(52, 60)}
    monkeypatch.setattr(ablation, "read_face_dataset", lambda _: SimpleNamespace(rows=rows))
    monkeypatch.setattr(
        ablation, "crops_of", lambda _, split: {row.video for row in rows if int(row.group[1:]) in parts[split]}
    )
    monkeypatch.setattr(ablation, "TRAINING_CROPS", 30)
    return rows, parts


def test_each_person_is_on_one_side_and_x_s_test_part_on_none(crops, tmp_path):
    rows, parts = crops
    sides = ablation._sides(tmp_path)
    of_person = {}
    for row in rows:
        of_person.setdefault(int(row.group[1:]), set()).add(sides.get(row.video))
    assert all(len(found) == 1 for found in of_person.values())
    people = {
        side: {one for one, found in of_person.items() if found == {side}} for side in ("train", "validation", "test")
    }
    assert people["train"] <= set(parts["train"])
    assert len(people["train"]) == 8  # the first number of whole people that reaches 30 crops
    assert people["validation"] | people["test"] == set(parts["validation"])
    assert len(people["validation"]) == len(people["test"]) == 6


def test_sides_are_dealt_alike_every_time(crops, tmp_path):
    assert ablation._sides(tmp_path) == ablation._sides(tmp_path)


def test_a_row_changes_one_thing_of_the_base():
    base = ablation.BASE.model_dump()
    for name, settings in ablation.ROWS.items():
        own = settings.model_dump()
        changed = {key for key in base["finetune"] if own["finetune"][key] != base["finetune"][key]}
        changed |= {key for key in base if key != "finetune" and own[key] != base[key]}
        assert len(changed) == (name != "base") or name == "backbone never trained", name


def test_the_table_has_a_difference_for_all_but_the_base():
    estimate = {"value": 0.7, "low": 0.6, "high": 0.8}
    rows = {
        "base": {"auc": estimate, "log_loss": estimate},
        "other": {"auc": estimate, "log_loss": estimate, "difference": {"value": -0.1, "low": -0.2, "high": 0.05}},
    }
    lines = ablation.table(rows).splitlines()
    assert lines[2] == "| base | 0.70 (0.60 to 0.80) |  | 0.70 (0.60 to 0.80) |"
    assert "| −0.10 (−0.20 to +0.05) |" in lines[3]
