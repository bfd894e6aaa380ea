"""`python -m cervella_rag`."""

from cervella_rag.cli import main

main()
