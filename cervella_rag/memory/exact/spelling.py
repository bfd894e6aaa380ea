"""A question's text, prepared for rules: paths and quotations set aside, letters plain, places kept.

`plain` and `kept` have the same length, so that what a rule finds in the one can be read in the other as
it was written. A path stands as <f0>, a quotation as <q0>, a folder's bare name as <d0>.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

LONGEST_QUESTION = 1500
"""Characters; a longer text is no question about a file."""

_ENDINGS = (
    "markdown|md|txt|jsonl|json|yaml|yml|toml|ini|cfg|csv|py|js|ts|sh|sql|html|css|png|jpe?g|gif|svg|pdf|"
    "log|zip|gz|docx|xlsx"
)
_NAME = r"[\w.@+~-]"
_FILE = rf"(?:~?/|\.{{1,2}}/)?(?:{_NAME}+/)*{_NAME}*\w\.(?:{_ENDINGS})(?![\w/]|\.\w)"
_PATH = rf"(?:~?/|\.{{1,2}}/)?(?:{_NAME}+/)+(?:{_NAME}*\w)?"
_BARE_PATH = re.compile(rf"(?<![\w/.:@$€£]){_FILE}|(?<![\w/.:@$€£]){_PATH}")
_WHOLE_PATH = re.compile(rf"(?:{_FILE}|{_PATH})")
_QUOTED_PATH = re.compile(rf"[^\n*?|\\]*/[^\n*?|\\]*|[^\n*?|\\]*\w\.(?:{_ENDINGS})")
_QUOTE = re.compile(
    r"«\s*(?P<a>[^«»\n]+?)\s*»|“(?P<b>[^“”\n]+)”|\"(?P<c>[^\"\n]+)\"|`(?P<d>[^`\n]+)`"
    r"|(?<![\w'])'(?P<e>[^'\n]+)'(?!\w)|(?<!\w)‘(?P<f>[^‘’\n]+)’(?!\w)"
)
_FOLDER = re.compile(
    r"(?i)\b(?P<noun>cartella|sottocartella|directory|folder|pasta|diret[oó]rio)\s+"
    r"(?:(?:di|delle|della|dei|degli|del|das|dos|da|do|de|of)\s+)?(?P<name>\w[\w.-]*)"
)
_ENGLISH_FOLDER = re.compile(r"(?i)\bthe\s+(?P<name>\w[\w.-]*)\s+(?:folder|directory)\b")
_MARK = re.compile(r"<([fqd])(\d+)>")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question prepared for rules.

    Attributes:
        plain: In lower case without accents, paths and quotations as marks.
        kept: The same as it was written; character n of it is character n of `plain`.
        held: What the marks stand for, as it was written.
    """

    plain: str
    kept: str
    held: dict[str, str]

    def original(self, match: re.Match[str], group: str) -> str:
        """Return what a rule found, as it was written; a mark as what it stands for."""
        text = self.kept[match.start(group) : match.end(group)].strip()
        return self.held.get(text, text)

    def marks(self, text: str) -> list[str]:
        """Return what all marks in a part of `plain` stand for, in order."""
        return [self.held[found[0]] for found in _MARK.finditer(text)]


def prepare(question: str) -> Asked | None:
    """Return the question prepared, or None where it is too long or holds a mark of ours."""
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", question)).strip()
    if not text or len(text) > LONGEST_QUESTION or _MARK.search(text):
        return None
    held: dict[str, str] = {}

    def hold(kind: str, value: str) -> str:
        mark = f"<{kind}{len(held)}>"
        held[mark] = value
        return mark

    def quotation(found: re.Match[str]) -> str:
        value = next(part for part in found.groups() if part)
        is_path = _WHOLE_PATH.fullmatch(value) or (len(value) < 200 and _QUOTED_PATH.fullmatch(value))
        return hold("f" if is_path and "://" not in value else "q", value)

    text = _QUOTE.sub(quotation, text)
    text = _BARE_PATH.sub(lambda found: hold("f", found[0]), text)
    text = _FOLDER.sub(lambda found: f"{found['noun']} {hold('d', found['name'])}", text)
    text = _ENGLISH_FOLDER.sub(lambda found: f"the folder {hold('d', found['name'])}", text)
    text = text.replace("’", "'").replace("`", "'")
    text = re.sub(r"(?<=[a-z])'(?=[\s?.,;:!]|$)", "", text)  # perche' is perché
    text = re.sub(r"\s+", " ", re.sub(r"[()¿¡]", " ", text)).strip(" ?.!")
    return Asked("".join(map(_plain, text)), text, held)


def _plain(character: str) -> str:
    base = unicodedata.normalize("NFKD", character.lower())
    letters = "".join(part for part in base if not unicodedata.combining(part))
    return letters if len(letters) == 1 else character
