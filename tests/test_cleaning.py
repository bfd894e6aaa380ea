"""Decoration goes, words stay."""

from __future__ import annotations

import pytest

from cervella_rag.memory.cleaning import clean, clean_line


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("# Titolo **forte** `codice`", "Titolo forte codice"),
        ("> **Data:** 10 Gennaio 2026", "Data: 10 Gennaio 2026"),
        ("- [x] fatto", "fatto"),
        ("+====+====+", ""),
        ("|---|:--:|", ""),
        ("| a | b |", "a b"),
        ("│   ESSENTIALS - $19/mese   │", "ESSENTIALS - $19/mese"),
        ("├─ API pricing: $0.27", "API pricing: $0.27"),
        ("FASE 3   [########............] 40%", "FASE 3 40%"),
        ("```python", ""),
        ("~~~~", ""),
        ("[guida](https://x.y/z)", "guida https://x.y/z"),
        ("\x1b[31mrosso\x1b[0m", "rosso"),
        ("ok ✅ 🎯 fine\u200b", "ok fine"),
        ("100000% di 5 €", "100000% di 5 €"),
        ("a -> b", "a -> b"),
    ],
)
def test_clean_line(line: str, words: str) -> None:
    assert clean_line(line) == words


def test_clean_drops_empty_lines() -> None:
    assert clean("a\n\n---\n\nb") == "a\nb"
