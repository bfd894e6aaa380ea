"""The folder that changes all the time, and what every content of it must be cut into."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from cervella_rag.domain import Chunk
from cervella_rag.memory.chunker import Chunker
from cervella_rag.memory.language import detect_language
from cervella_rag.memory.sentences import split_long_text
from cervella_rag.memory.sncp import DocumentReader
from cervella_rag.memory.sources import SourceReader, name_roots
from cervella_rag.settings import SKIP_RULES, Settings

_BURST = 30
_FEWEST, _MOST = 20, 150
"""Files below which none are deleted, and above which none are added."""
_WORDS = (
    "memoria decisione perché forno città lezione sessione farina passo così prezzo camera lievito oggi "
    "domani archivio modello domanda risposta pezzo"
).split()


def enter(work: Path) -> None:
    """Let this process and those it starts know only `work`: no setting of the machine reaches them."""
    for name in [name for name in os.environ if name.startswith("CERVELLA_")]:
        del os.environ[name]
    os.environ.update(
        CERVELLA_HOME=str(work / "home"),
        CERVELLA_EMBEDDER__NAME="none",
        CERVELLA_LLM__VOICE="memory_only",
        CERVELLA_LANGUAGE="en",
        TERMINAL_WIDTH="200",
    )
    os.chdir(work)


def fingerprints(chunks: Iterable[Chunk]) -> dict[str, str]:
    """Return what every document is cut into, by content and ending; where it lies does not matter."""
    pieces: dict[str, list[str]] = defaultdict(list)
    for chunk in chunks:
        name = f"{chunk.sha256} {Path(chunk.path).suffix}"
        pieces[name].append(f"{chunk.start_line}-{chunk.end_line} {chunk.text}")
    return {
        name: hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest()
        for name, texts in pieces.items()
    }


class Table:
    """The fingerprints of every content that ever stood in the folder: one writes, others look up."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, str] = {}

    def add(self, known: dict[str, str]) -> None:
        """Write fingerprints; to be done before their files appear."""
        with self._file.open("a", encoding="utf-8") as file:
            file.writelines(f"{print_}\t{name}\n" for name, print_ in known.items())

    def get(self, name: str) -> str | None:
        """Return the fingerprint of a content."""
        if name not in self._known:
            lines = self._file.read_text(encoding="utf-8").splitlines()
            self._known = {name: print_ for print_, name in (line.split("\t", 1) for line in lines)}
        return self._known.get(name)


class Memory:
    """The folder that changes: every file appears whole, and its fingerprint is known before."""

    def __init__(self, work: Path, settings: Settings, chance: Random) -> None:
        self.folder = work / "memory"
        self._table = Table(work / "table")
        self._spare = work / "spare"
        self._chance = chance
        self._count = 0
        self._sources = SourceReader(settings.memory)
        self._documents = DocumentReader(
            volatile=settings.memory.volatile,
            template=SKIP_RULES["template"],
            detect_language=detect_language,
        )
        chunking = settings.chunking
        self._chunker = Chunker(chunking.size_tokens, chunking.overlap_tokens, split_long_text)
        self._note(self.folder)

    def change(self) -> None:
        """Do one thing to the folder."""
        files = self._files()
        ways: list[Callable[[list[Path]], None]] = [self._edit, self._edit, self._rename, self._copy]
        if len(files) < _MOST:
            ways += [self._add, self._add, self._add_many]
        if len(files) > _FEWEST:
            ways += [self._delete, self._delete]
        if len(files) > _MOST:
            ways += [self._delete_many] * 3
        self._chance.choice(ways)(files)

    def _files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.md"))

    def _edit(self, files: list[Path]) -> None:
        file = self._chance.choice(files)
        lines = file.read_text(encoding="utf-8").split("\n")
        lines[self._chance.randrange(len(lines))] = self._sentence()
        lines.insert(self._chance.randrange(len(lines) + 1), self._sentence())
        self._put({file: "\n".join(lines)})

    def _add(self, files: list[Path]) -> None:
        self._put({self._name(files): self._text()})

    def _add_many(self, files: list[Path]) -> None:
        self._put({self._name(files): self._text() for _ in range(_BURST)})

    def _copy(self, files: list[Path]) -> None:
        self._put({self._name(files): self._chance.choice(files).read_text(encoding="utf-8")})

    def _rename(self, files: list[Path]) -> None:
        self._chance.choice(files).rename(self._name(files))

    def _delete(self, files: list[Path]) -> None:
        self._chance.choice(files).unlink()

    def _delete_many(self, files: list[Path]) -> None:
        for file in self._chance.sample(files, _BURST):
            file.unlink()

    def _name(self, files: list[Path]) -> Path:
        self._count += 1
        return self._chance.choice(files).parent / f"caos_{self._count:05d}.md"

    def _sentence(self) -> str:
        return " ".join(self._chance.choices(_WORDS, k=self._chance.randint(3, 30))) + "."

    def _text(self) -> str:
        parts = (
            f"## {self._sentence()}\n\n{self._sentence()}\n" for _ in range(self._chance.randint(0, 40))
        )
        return f"# Nota {self._chance.random()}\n\n" + "\n".join(parts)

    def _put(self, texts: dict[Path, str]) -> None:
        """Note what will be there, then let each file appear in one step."""
        shutil.rmtree(self._spare, ignore_errors=True)
        self._spare.mkdir()
        made = {self._spare / f"{number}.md": file for number, file in enumerate(texts)}
        for spare, file in made.items():
            spare.write_text(texts[file], encoding="utf-8")
        self._note(self._spare)
        for spare, file in made.items():
            spare.replace(file)

    def _note(self, folder: Path) -> None:
        """Cut the files of a folder apart from any index, and keep their fingerprints."""
        scan = self._sources.read(name_roots([folder]))
        documents = (self._documents.read(source, (source.path,)) for source in scan.sources)
        chunks = [chunk for document in documents for chunk in self._chunker.chunk(document)]
        self._table.add(fingerprints(chunks))
