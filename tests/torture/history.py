"""What a client asked and what it was told, as lines of JSON: the asking is written before it is sent.

A line is an asking (`ask`) or what came of it (`told`). An asking that was told nothing, or a 5xx, may have been done
or not: its client asks again under the same key until it is told, or the run ends and the checker takes either.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO


class Writer:
    """One client's history."""

    def __init__(self, folder: Path, client: str) -> None:
        self.client = client
        self.file: TextIO = (folder / f"{client}.jsonl").open("w", encoding="utf-8")
        self.lock = threading.Lock()
        self.count = 0

    def ask(self, what: str, key: str | None, path: str, body: Any, **more: Any) -> int:
        """Write what is about to be asked; return its number."""
        self.count += 1
        self._write({"n": self.count, "ask": what, "key": key, "path": path, "body": body, **more})
        return self.count

    def told(self, number: int, status: int | None, answer: Any, *, text: str = "", replayed: bool = False) -> None:
        """Write what came of it; status None is a connection that died."""
        self._write({"n": number, "told": status, "answer": answer, "text": text, "replayed": replayed})

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _write(self, line: dict[str, Any]) -> None:
        with self.lock:
            self.file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self.file.flush()


@dataclass
class Deed:
    """All that a client asked under one key, and all it was told."""

    client: str
    what: str
    key: str
    path: str
    body: Any
    told: list[tuple[int, Any, str]] = field(default_factory=list)
    unknown: int = 0
    clashed: bool = False
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> list[tuple[int, Any, str]]:
        """The answers that say it is done."""
        return [one for one in self.told if 200 <= one[0] < 300]

    @property
    def refused(self) -> bool:
        """Whether the last word was a refusal, and nothing before it may have done it."""
        return bool(self.told) and not self.done and all(400 <= one[0] < 500 for one in self.told)

    @property
    def acknowledged(self) -> Any:
        """The first answer that says it is done, or None."""
        return self.done[0][1] if self.done else None


@dataclass
class Histories:
    """Everything that was asked: by key, and how many answers there were of each status."""

    deeds: dict[tuple[str, str], Deed] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)

    def of(self, *kinds: str) -> Iterator[Deed]:
        """The deeds of some kinds."""
        return (deed for deed in self.deeds.values() if deed.what in kinds)

    def counts(self) -> dict[str, int]:
        """How many deeds of each kind were acknowledged."""
        found: dict[str, int] = {}
        for deed in self.deeds.values():
            if deed.done:
                found[deed.what] = found.get(deed.what, 0) + 1
        return dict(sorted(found.items()))


def read(folder: Path) -> Histories:
    """Read every client's history."""
    found = Histories()
    for path in sorted(folder.glob("*.jsonl")):
        asked: dict[int, dict[str, Any]] = {}
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if "ask" in line:
                asked[line["n"]] = line
                key = line["key"] or f"{line['ask']}-{line['n']}"
                if not line.get("clash"):
                    deed = Deed(path.stem, line["ask"], key, line["path"], line["body"], more=line.get("more", {}))
                    found.deeds.setdefault((path.stem, key), deed).unknown += 1
                continue
            first = asked[line["n"]]
            status = "none" if line["told"] is None else str(line["told"])
            found.statuses[status] = found.statuses.get(status, 0) + 1
            deed = found.deeds[path.stem, first["key"] or f"{first['ask']}-{first['n']}"]
            if first.get("clash"):
                deed.clashed = deed.clashed or (line["told"] or 0) in range(200, 300)
            elif line["told"] is not None and line["told"] < 500:
                deed.unknown -= 1
                deed.told.append((line["told"], line["answer"], line["text"]))
    return found
