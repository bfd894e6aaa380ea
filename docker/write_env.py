"""Write `.env` for docker-compose.yml, with random keys that only its owner may read.

Usage: python3 docker/write_env.py [--gpu | --ollama URL] [--scale] [--memory FOLDER] [--file .env]
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path


def main() -> int:
    """Write the file; 2 where there is one already, or no folder to mount."""
    parser = argparse.ArgumentParser(description="Write .env for the local stack, with random keys.")
    ollama = parser.add_mutually_exclusive_group()
    ollama.add_argument("--gpu", action="store_true", help="let Ollama use an NVIDIA card")
    ollama.add_argument("--ollama", help="an Ollama outside, for example http://host.docker.internal:11434")
    parser.add_argument("--scale", action="store_true", help="two Cervellas behind nginx, with Postgres")
    parser.add_argument("--memory", default="knowledge", help="the folder of the memory")
    parser.add_argument("--file", type=Path, default=Path(".env"))
    given = parser.parse_args()
    memory = Path(given.memory).expanduser().absolute()
    if not memory.is_dir() or "'" in str(memory):
        sys.stderr.write(f"{memory} is not a folder that can be mounted.\n")
        return 2
    profiles = [] if given.ollama else ["gpu" if given.gpu else "cpu"]
    password = secrets.token_hex(24)
    lines = [
        f"STACK_MEMORY='{memory}'",  # quoted: nothing in it is a variable or a comment
        f"STACK_API_KEY={secrets.token_hex(24)}",
        f"STACK_QDRANT_KEY={secrets.token_hex(24)}",
        f"STACK_POSTGRES_PASSWORD={password}",
    ]
    if given.ollama:
        lines.insert(0, f"STACK_OLLAMA_URL='{given.ollama}'")
    if given.scale:
        profiles.append("scale")
        lines += [
            f"STACK_CONVERSATIONS_URL=postgresql://cervella:{password}@postgres:5432/cervella",
            "STACK_NGINX_PORT=8000",
            "STACK_PORT=8001",  # the first replica alone
        ]
    if profiles:
        lines.insert(0, f"COMPOSE_PROFILES={','.join(profiles)}")
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
