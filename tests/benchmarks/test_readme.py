import pytest

from benchmarks.readme import ROOT, filled


def test_the_readme_holds_the_tables_that_scripts_wrote():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<!-- begin real_videos -->" in readme
    assert filled(readme, ROOT / "benchmarks" / "results") == readme, "run `python -m benchmarks.readme`"


def test_a_block_without_a_table_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        filled("<!-- begin nothing -->\n<!-- end nothing -->", tmp_path)


def test_a_block_is_replaced_whole(tmp_path):
    (tmp_path / "a.md").write_text("new\n")
    text = "x\n<!-- begin a -->\nold\nold\n<!-- end a -->\ny"
    once = filled(text, tmp_path)
    assert once == "x\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\ny"
    assert filled(once, tmp_path) == once
