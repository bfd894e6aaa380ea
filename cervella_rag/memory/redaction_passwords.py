"""The rule for values that a word gives away: `password`, `token`, `senha`, PIN and their kin.

A value goes where it is written as one: quoted, assigned in an environment, a flag or a query, alone
after its YAML key, or with the look of a secret. What only talks about passwords stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

# Cheap, and most lines have none of it: the patterns proper are run where it matches only.
_HINT = re.compile(r"[PpSsTtKkCc](?i:ass|wd|arola|alavra|in\b|enha|ecret|oken|ey\b|ey_|hiave|have)")
_KEY = re.compile(
    r"(?<!redacted:)(?:passphrase|passw(?:or)?d|pwd|parola[ _-]d['’ ]?ordine|palavra[ -]passe|senha"
    r"|secret(?:[_-]?(?:access[_-]?)?key)?|token|(?:api|access|auth|account|encryption|signing)[ _-]?key"
    r"|chiave[ ](?:api|segreta)|chave[ ](?:api|secreta)|(?<![a-z])pass|(?<![a-z0-9_])pin)"
    r"(?:[_-](?:prod|production|dev|test|staging|base|value|\d{1,2}))?(?![\w-])",
    re.IGNORECASE,
)
_MODEL_TOKEN = re.compile(
    r"(?:eos|bos|pad|unk|sep|cls|mask|stop|max|min|next|first|last|per|special|image)[ _-]?\Z",
    re.IGNORECASE,
)
_TYPE = r":[ ]?(?:str|string|Optional\[str\]|SecretStr)(?:[ ]?\|[ ]?None)?[ ]?="
_SIGN = re.compile(
    r"(?P<close>[\"'`*\])}\\]{0,4}[ \t]{0,20})"
    rf"(?P<sign>{_TYPE}|=>|:=|={{1,3}}|:(?!:)|\|)(?P<gap>[*]{{0,2}}[ \t]{{0,20}}[*]{{0,2}})"
)
_SAID = re.compile(
    r"(?:[ ][\w'’]{1,20}){0,4}[ ]?"
    r"(?P<sign>\b(?:è|é|era|is|was)|\be['’]|(?<=\w):|=)(?P<gap>[ ]{1,2}[*]{0,2})"
)
_PIN_GAP = re.compile(r"[ ]?[:=|]?[*]{0,2}[ ]?(?=\d)")
_PIN = re.compile(r"\d{4,8}(?![\w.,/:-]\w|\w)")
_FLAG_GAP = re.compile(r"[ ](?!-)")
_QUOTED = re.compile(r"\\?(?P<quote>[\"'`])(?P<value>[^\"'`\n\\]{1,120})\\?(?P=quote)")
_BARE = re.compile(r"[^\s\"'`|]{1,120}")
_BARE_REST = re.compile(r"[^\s\"'`|\[&]*")
_AFTER = ".,;:)]}*_>\\"
_YAML = re.compile(r"[ \t]*(?:- )?[\w.-]*\Z")

_EXAMPLE = re.compile(
    r"[<{\[%$(&@].*|.*\$[{(].*|.*\{\{.*|(.)\1{2,}.*|.*(?:x{4,}|\.{3}|…|\*{3}|•{2,}).*"
    r"|(?:.*[-_])?[xX]{3}|\d{1,3}/\d{1,3}"
    r"|(?i:change[-_ ]?(?:me|it)|dummy|example|placeholder|redacted|none|null|nil|undefined|true|false|todo"
    r"|tbd|n/?a|str(?:ing)?|bytes|secretstr|int|bool|any|required|optional|obbligatori[ao]|richiest[ao]|mancante"
    r"|opzionale|obrigat[oó]ria|missing|empty|vuot[ao]|self|env|stdin|prompt|segret[ao]|your.*|.*_here|test)",
)
_EXPRESSION = re.compile(
    r"!?[A-Za-z_][\w.]*[(\[].*|[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)+|(?:https?:/|file:/|\.{0,2}|~)/.*"
    r"|[a-z][\w-]*(?:\.[\w-]+)*\.[a-z]{2,6}/.*"
    r"|[\w./-]+\.(?:py|md|json|[jt]sx?|ya?ml|toml|txt|sh|html|env|sql|pem|key)"
)
_NAME = re.compile(r"[A-Za-z:./_-]+|[A-Z][A-Z0-9_]*_(?:KEY|TOKEN|SECRET|PASSWORD|PWD|PASS)")
_NAME_WORD = re.compile(
    r"(?i)(?:^|[-_:./])(?:key|token|secrets?|password|here|your|existing|latest|api)(?=$|[-_:./])"
)
_QUANTITY = re.compile(r"[~<>=+-]*\d[\d.,/x-]*\s?[A-Za-z%+]{0,4}")
_KNOWN = re.compile(
    r"(?i)(?:sha|aes|hs|rs|es|hmac|oauth|argon|base|bcrypt|pbkdf|utf|md|uuid|gpt|qwen|llama|claude|phase|fase|v)"
    r"[-_]?\d[\w.-]*"
)
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")
_PASSWORD_KEY = re.compile(r"(?i)pass|pwd|parola|palavra|senha")


def find_passwords(text: str) -> Iterator[Span]:
    """Values behind a word for one (`password`, `secret`, `token`, `parola d'ordine`, `senha`, `PIN`, ...).

    In env files, YAML, JSON, code, options, queries and prose; examples and variables stay, and so do the
    keys, signs and quotes around a value.
    """
    end = 0
    for line in lines_with(_HINT, text):
        for key in _KEY.finditer(text, *line):
            if key.start() >= end and _is_key(text, key) and (span := _value(text, key)):
                end = span[1]
                yield span


def lines_with(hint: re.Pattern[str], text: str) -> Iterator[Span]:
    """Yield where the lines start and end in which `hint` matches."""
    position = 0
    while found := hint.search(text, position):
        start = text.rfind("\n", position, found.start()) + 1 or position
        position = text.find("\n", found.end())
        position = len(text) if position < 0 else position
        yield start, position


def _is_key(text: str, key: re.Match[str]) -> bool:
    word, before = key[0], text[max(key.start() - 10, 0) : key.start()]
    if word.lower().startswith("token"):
        grown = bool(before) and before[-1].isalnum() and not word[0].isupper()
        return not grown and not _MODEL_TOKEN.search(before)
    return True


def _value(text: str, key: re.Match[str]) -> Span | None:
    """Return the span of the key's value, or None where there is none to hide."""
    if key[0].lower() == "pin":
        gap = _PIN_GAP.match(text, key.end()) or _SAID.match(text, key.end())
        digits = _PIN.match(text, gap.end()) if gap else None
        return digits.span() if digits else None
    near = max(key.start() - 200, 0)  # a line may be the whole of a file
    line = text.rfind("\n", near, key.start()) + 1 or near
    word = max(text.rfind(" ", line, key.start()), text.rfind("`", line, key.start()), line - 1) + 1
    sign = _SIGN.match(text, key.end()) or _SAID.match(text, key.end())
    if sign is None and text.startswith("--", word):
        sign = _FLAG_GAP.match(text, key.end())
    if sign is None:
        return None
    if quoted := _QUOTED.match(text, sign.end()):
        return quoted.span("value") if _hides_quoted(key[0], quoted["value"], sign) else None
    bare = _BARE.match(text, sign.end())
    return _bare_value(text, (line, word), key, sign, bare) if bare else None


def _bare_value(
    text: str, places: Span, key: re.Match[str], sign: re.Match[str], bare: re.Match[str]
) -> Span | None:
    """Return the span of a value without quotes; `places` are where its line and its key's word start."""
    line, word = places
    is_query = text[key.start() - 1 : key.start()] in {"?", "&"} or "?" in text[word : key.start()]
    whole = bare[0].split("[redacted:", 1)[0]
    whole = re.split("[&#]", whole, maxsplit=1)[0] if is_query else whole
    value = whole.rstrip(_AFTER)
    is_tight = sign.end() == key.end() + 1 and text[key.end()] == "="
    is_flag = text.startswith("--", word)
    is_assigned = is_tight and (is_query or is_flag or _is_environment(text, word, key))
    is_alone = _is_alone(text, line, key, sign, bare)
    if _hides_bare(key[0], value, whole, is_assigned=is_assigned or is_alone):
        end = bare.start() + len(value)
        rest = _BARE_REST.match(text, end) if value == bare[0] else None
        return bare.start(), rest.end() if rest else end
    return None


def _is_environment(text: str, word: int, key: re.Match[str]) -> bool:
    return text[word : key.end()].upper() == text[word : key.end()]


def _is_alone(text: str, line: int, key: re.Match[str], sign: re.Match[str], bare: re.Match[str]) -> bool:
    """Tell whether the line is a YAML key and one word, nothing else."""
    after = text[bare.end() : bare.end() + 40].split("\n", 1)[0]
    is_yaml = text[key.end() : sign.end()].rstrip(" \t") == ":" and sign.end() > key.end() + 1
    return is_yaml and not after.strip() and _YAML.match(text, line, key.start()) is not None


def _hides_quoted(key: str, value: str, sign: re.Match[str]) -> bool:
    if len(value) < 4 or _is_example(value):
        return False
    words = value.split()
    if len(words) > 1:
        return (
            key.lower() == "passphrase"
            or (sign["sign"] == "=" and len(words) < 7)
            or any(_looks_secret(key, word.rstrip(_AFTER)) for word in words)
        )
    return sign["sign"] not in {"|", ":"} or sign["gap"].strip("* \t") == ""


def _hides_bare(key: str, value: str, whole: str, *, is_assigned: bool) -> bool:
    if len(value) < 4 or not (is_assigned or _looks_secret(key, value)):
        return False
    # An ellipsis at the end makes it an example, and is no punctuation.
    return not _is_example(value) and not _EXAMPLE.fullmatch(whole)


def _is_example(value: str) -> bool:
    """Tell whether the value stands for another: a placeholder, an expression, the name of a secret."""
    return bool(
        _EXAMPLE.fullmatch(value)
        or _EXPRESSION.fullmatch(value)
        or (_NAME.fullmatch(value) and (_NAME_WORD.search(value) or value.isupper()))
        or not any(map(str.isalnum, value))
    )


def _looks_secret(key: str, value: str) -> bool:
    """Tell a secret from a word of a sentence: letters with digits, or with signs no word has."""
    if _QUANTITY.fullmatch(value) or _KNOWN.fullmatch(value) or not _LETTER.search(value):
        return False
    digits = len(_DIGIT.findall(value))
    if _PASSWORD_KEY.search(key):
        return len(value) > 4 and (digits > 0 or any(sign in "!@#$%^&*?" for sign in value[1:-1]))
    return len(value) > 7 and (digits > 1 or (len(value) > 19 and not value.islower()))
