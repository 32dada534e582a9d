"""Put the tables in ``results/*.md`` into README.md, between the marks that name them.

python -m benchmarks.readme
"""

from __future__ import annotations

import re
from pathlib import Path

from dfutils.files import write_text

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- begin (?P<name>[a-z_]+) -->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)


def filled(readme: str, results: Path) -> str:
    """README with every marked block replaced by its table.

    Raises:
        FileNotFoundError: A block names a table that is not in ``results``.
    """

    def replace(match: re.Match[str]) -> str:
        table = (results / f"{match['name']}.md").read_text(encoding="utf-8")
        return f"{match[1]}\n{table}\n{match[3]}"

    return BLOCK.sub(replace, readme)


def main() -> None:
    """Command line."""
    path = ROOT / "README.md"
    write_text(path, filled(path.read_text(encoding="utf-8"), ROOT / "benchmarks" / "results"))


if __name__ == "__main__":
    main()
