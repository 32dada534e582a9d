"""Read a Containerfile into its instructions."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

KNOWN = ("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD")


@dataclass(frozen=True)
class Instruction:
    """One instruction, such as RUN, with everything that follows on its lines."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of COPY, ENV and the like, or the JSON list of ENTRYPOINT and CMD."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def read_containerfile(path: Path) -> list[Instruction]:
    """Return the instructions in order; ValueError for one that `check_containerfile` does not follow."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not re.match(r"\s*(#|$)", line)]
    found = []
    for statement in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        name, _, text = statement.partition(" ")
        if name not in KNOWN:
            raise ValueError(f"{path}: {name} is not followed. Known: {', '.join(KNOWN)}.")
        found.append(Instruction(name, text.strip()))
    return found


def last(instructions: list[Instruction], name: str) -> Instruction:
    """Return the last instruction of a name, which is the one that counts for USER, WORKDIR, ENTRYPOINT and CMD."""
    return [one for one in instructions if one.name == name][-1]
