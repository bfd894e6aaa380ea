"""Write `.env` for docker-compose.yml, with random keys that only its owner may read.

Usage: python3 docker/write_env.py [--gpu | --ollama URL] [--memory FOLDER] [--file .env]
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path


def main() -> int:
    """Write the file; 2 where there is one already, because its keys are in use."""
    parser = argparse.ArgumentParser(description="Write .env for the local stack, with random keys.")
    voice = parser.add_mutually_exclusive_group()
    voice.add_argument("--gpu", action="store_true", help="let Ollama use an NVIDIA card")
    voice.add_argument("--ollama", help="an Ollama outside, for example http://host.docker.internal:11434")
    parser.add_argument("--memory", default="./knowledge", help="the folder of the memory")
    parser.add_argument("--file", type=Path, default=Path(".env"))
    given = parser.parse_args()
    memory = (
        given.memory if given.memory.startswith("./") else str(Path(given.memory).expanduser().absolute())
    )
    lines = [
        f"STACK_OLLAMA_URL={given.ollama}"
        if given.ollama
        else f"COMPOSE_PROFILES={'gpu' if given.gpu else 'cpu'}",
        f"STACK_MEMORY={memory}",
        f"STACK_API_KEY={secrets.token_hex(24)}",
        f"STACK_QDRANT_KEY={secrets.token_hex(24)}",
    ]
    try:
        file = os.open(given.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(
            f"{given.file} is there already; its keys are in use. Remove it to make new ones.\n"
        )
        return 2
    with open(file, "w") as env:
        env.write("\n".join(lines) + "\n")
    sys.stderr.write(f"{given.file} written. Next: docker compose up --detach\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
