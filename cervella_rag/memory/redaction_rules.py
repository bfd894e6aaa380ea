"""What is taken out, rule by rule: each finds the spans of a text that go.

No pattern crosses a line or matches a placeholder; every repetition is bounded or cannot overlap with
what follows it. Where a checksum or a numbering plan decides, a library knows it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import MappingProxyType

import phonenumbers
from stdnum import iban, luhn
from stdnum.it import codicefiscale, iva

from cervella_rag.memory.redaction_passwords import Span, find_passwords, lines_with

# What most lines have none of: the slower patterns are run where these match only.
_LONG_WORD = re.compile(r"[A-Za-z0-9_+/-]{15}")
_DIGITS = re.compile(r"\d[\d ().+/-]{5}")

_API_KEY = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"sk-(?:ant|proj|svcacct|admin|or)?-?[\w-]{20,250}"  # OpenAI, Anthropic, OpenRouter
    r"|gh[opsur]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|gl(?:pat|ptt|dt|rt)-[\w-]{20,100}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,60}|ya29\.[\w-]{20,250}"
    r"|xox[abeoprs]-[\w-]{10,250}|xapp-[\w-]{10,250}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{10,250}|whsec_[\w+/=]{16,100}"
    r"|hf_[A-Za-z0-9]{20,100}|npm_[A-Za-z0-9]{30,100}|pypi-[\w-]{30,250}"
    r"|SG\.[\w-]{16,80}\.[\w-]{16,80}|SK[0-9a-f]{32}"
    r"|gsk_[A-Za-z0-9]{20,100}|r8_[A-Za-z0-9]{20,100}|rpa_[A-Za-z0-9]{20,100}|dop_v1_[0-9a-f]{40,80}"
    r")(?![A-Za-z0-9_])"
    r"|(?<![0-9A-Za-z])(?:bot)?\d{8,10}:[A-Za-z0-9_-]{35}(?![\w-])"  # Telegram
    r"|(?<=hooks\.slack\.com/services/)[\w/]{20,100}"
)
_AWS_SECRET = re.compile(
    r"(?i)secret_?(?:access)?_?key[\"'`]?[ \t]{0,20}[:=|][ \t]{0,20}[\"'`]?"
    r"([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])"
)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,4000}\.[\w-]{8,8000}(?:\.[\w-]{0,2000})?")
_BEARER = re.compile(
    r"(?i)(?:\b(?:proxy-)?authorization[\"'`]?[ \t]{0,20}[:=][ \t]{0,20}[\"'`]?"
    r"(?:(?:bearer|basic|token|digest|apikey)[ \t]{1,4})?|\bbearer[ \t]{1,4})([A-Za-z0-9._~+/=-]{8,4000})"
)
_URL_LOGIN = re.compile(r"(?<=://)(?!\[redacted:)[^\s/@:\"'`<>|]{0,200}:[^\s/@\"'`<>|]{1,200}(?=@[\w\[.-])")
_DSN = re.compile(
    r"(?i)(?<!\w)(?:server|host|hostname|data source|addr|driver|provider|dbname|database)"
    r"=[^;\s\"'`|]{1,200}"
    r"(?:;[^;=\n\"'`|]{1,40}=[^;\s\"'`|]{0,200})+"
)
_DSN_LOGIN = re.compile(r"(?i);\s?(?:password|pwd|user id|user|username|uid)=((?!\[redacted:)[^;\s]+)")
_LOGIN_EXAMPLE = re.compile(
    r".*(?:\$[{(A-Z]|\{|\*\*).*|(?i:user(?:name)?|utente):(?:pass(?:word)?|pwd|secret)|.{0,30}:\.{3}"
)
_EMAIL = re.compile(
    r"(?<![\w.+%/=-])([\w+%][\w.+%-]{0,63})@((?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24})(?![\w-]|\.\w)"
)
_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[A-Za-z0-9]{11,30}"
    r"|(?:[ -][A-Za-z0-9]{4}){2,7}(?:[ -][A-Za-z0-9]{1,4})?)"
    r"(?![A-Za-z0-9])"
)
_GROUP_END = re.compile(r"[A-Za-z0-9](?![A-Za-z0-9])")
_CODICE_FISCALE = re.compile(
    r"(?i)(?<![A-Z0-9])[A-Z]{6}[0-9L-NP-V]{2}[A-EHLMPR-T][0-9L-NP-V]{2}[A-Z][0-9L-NP-V]{3}[A-Z](?![A-Z0-9])"
)
_ELEVEN = re.compile(r"(?<![\w.+-])(?:IT ?)?(\d{11})(?![\w-]|[.,]\d)")
_IVA_WORD = re.compile(
    r"(?i)\bp\.? ?iva\b|\bpartita iva|\bvat\b|\bcod(?:ice|\.)? ?fisc|\bc\.? ?f\.|\bpiva\b"
)
_CARD = re.compile(
    r"(?<![\w.,+-])(?=[2-6])(?:\d{4}([ -]?)\d{4}\1\d{4}\1\d{1,4}(?:\1\d{3})?"
    r"|\d{4}([ -]?)\d{6}\2\d{4,5})(?![\w-]|[.,]\d| \d)"
)
_ISSUER = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720))\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|(?:6011|64[4-9]\d|65\d\d|62\d\d|35[2-8]\d|6362|6062|5067|5090)\d{12}"
)
_DIAL = r"(?<![\w.,/+=#:-])(?<![\w)] \()"
_DIALLED = r"(?![\w]|[.,:/-]\d|-\w)"
_PHONE = {
    "IT": re.compile(
        rf"{_DIAL}(?:3\d\d[ ./-]?\d{{3}}[ .-]?\d{{4}}|3\d\d[ ./-]?\d{{7}}"
        rf"|3\d\d[ ./-]\d{{2,3}}[ .-]\d\d[ .-]\d{{2,3}}"
        rf"|0\d{{1,3}}[ ./-]\d{{5,8}}|0\d{{1,3}}[ ./-]\d{{2,4}}[ .-]\d{{2,4}}(?:[ .-]\d{{2,4}})?){_DIALLED}"
    ),
    "PT": re.compile(rf"{_DIAL}9[1236]\d[ .-]\d{{3}}[ .-]\d{{3}}{_DIALLED}"),
    "BR": re.compile(rf"{_DIAL}(?:\(\d\d\)|\d\d)[ ]?9?\d{{4}}-\d{{4}}{_DIALLED}"),
    "US": re.compile(rf"{_DIAL}(?:\(\d{{3}}\)[ ]?|\d{{3}}[-.])\d{{3}}[-.]\d{{4}}{_DIALLED}"),
}
_ABROAD = re.compile(
    rf"(?<![\w.,+-])(?:\+|00)[1-9]\d{{0,14}}"
    rf"(?: ?\(\d{{1,4}}\) ?\d{{1,8}})?(?:[ ./-]\d{{1,11}}){{0,6}}{_DIALLED}"
)
_CALLED = re.compile(
    r"(?i)(?:\b(?:tel|cell?|fax|mob|ph)\b\.?|telefon[oe]|cellulare|celular|phone|mobile|whatsapp|telem[oó]vel"
    r"|chiam\w{1,6}(?: al)?|\bcall)[\"'*` ]{0,4}[:|=]?[\"'*` ]{0,4}(\(?\d[\d ()./-]{5,18}\d)" + _DIALLED
)
_DATE = re.compile(r"\d{1,2}[ ./-]\d{1,2}[ ./-](?:19|20)\d\d.*|(?:19|20)\d\d[ ./-]\d.*")
_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+")
_NUMBERED = re.compile(
    r"(?i)(?:\b(?:p?id|uid|size|bytes?|seed|ordine|order|ticket|pratica|timestamp)\b"
    r"|[=#_])[\"'`: ]*\Z"
)
_IPV4 = re.compile(r"(?<![\w.=~^])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\w)(/\d{1,2})?")
_VERSION_WORD = re.compile(
    r"(?i)(?:\b(?:v|ver\.?|versione?|vers[aã]o|release|build|sezione|section|capitolo|§) ?"
    r"|[<>!=~^]=? ?|[a-z_]-|#{1,6} )\Z"
)
_IPV6 = re.compile(r"(?i)(?<![\w:.])(?:[23][0-9a-f]{3}|f[cde][0-9a-f]{2})(?::[0-9a-f]{0,4}){2,7}(?![\w:])")
_MAC = re.compile(r"(?i)(?<![\w:.-])[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![\w:-])")
_HOME = re.compile(
    r"(?:(?<![\w.~-])(?:/[a-z])?/(?:home|Users)/|\b[A-Za-z]:[\\/]{1,4}Users[\\/]{1,4})"
    r"((?!\[redacted:)[\w](?:[\w.-]{0,62}\w)?(?:(?: [A-Z][\w.'-]{0,30}){1,2}(?=\\))?)(?!\w)(?!\.\w)"
)
# Accounts of machines, and words in the place of a name.
_NOBODY = frozenset(
    "user username utente usuario name nome you your-name yourname shared public default ubuntu debian "
    "runner node vscode app appuser git ec2-user jovyan pi deploy root admin linuxbrew www-data".split()
)


def _api_keys(text: str) -> Iterator[Span]:
    """Keys with a known form: OpenAI, Anthropic, GitHub, GitLab, AWS, Google, Slack, Stripe, ..."""
    spans: list[Span] = []
    for line in lines_with(_LONG_WORD, text):
        spans += [key.span() for key in _API_KEY.finditer(text, *line) if _is_random(key[0])]
        spans += [key.span(1) for key in _AWS_SECRET.finditer(text, *line) if _is_random(key[1])]
    yield from _apart(spans)


def _is_random(value: str) -> bool:
    # Examples are filled with x; words joined by hyphens have no digit.
    return any(map(str.isdigit, value)) and "xxxx" not in value.lower() and "your" not in value.lower()


def _apart(spans: list[Span]) -> Iterator[Span]:
    end = 0
    for span in sorted(spans):
        if span[0] >= end:
            yield span
            end = span[1]


def _jwts(text: str) -> Iterator[Span]:
    """JSON web tokens."""
    return (token.span() for token in _JWT.finditer(text) if "..." not in token[0])


def _bearers(text: str) -> Iterator[Span]:
    """What stands behind `Authorization:`; the header's name stays."""
    for value in _BEARER.finditer(text):
        is_mixed = re.search(r"[a-z][A-Z]", value[1]) or any(map(str.isdigit, value[1]))
        if is_mixed and "xxxx" not in value[1].lower() and "..." not in value[1]:
            yield value.start(1), value.start(1) + len(value[1].rstrip("."))


def _connection_strings(text: str) -> Iterator[Span]:
    """User and password in `scheme://user:password@host` and in DSNs."""
    spans = [login.span() for login in _URL_LOGIN.finditer(text) if not _LOGIN_EXAMPLE.fullmatch(login[0])]
    for dsn in _DSN.finditer(text):
        spans += [
            login.span(1)
            for login in _DSN_LOGIN.finditer(text, *dsn.span())
            if not re.match(r"[${<*%]", login[1])
        ]
    yield from _apart(spans)


def _emails(text: str) -> Iterator[Span]:
    """E-mail addresses."""
    # git@ is how every repository is reached, and icon@2x.png is a file.
    return (
        email.span()
        for email in (_EMAIL.finditer(text) if "@" in text else ())
        if email[1] != "git" and not re.match(r"\dx\.", email[2])
    )


def _ibans(text: str) -> Iterator[Span]:
    """Account numbers, by their checksum (library `python-stdnum`)."""
    for candidate in _IBAN.finditer(text):
        ends = [group.end() for group in _GROUP_END.finditer(text, candidate.start() + 14, candidate.end())]
        for end in reversed(ends):  # a word may follow and look like one more group
            if iban.is_valid(text[candidate.start() : end]):
                yield candidate.start(), end
                break


def _codici_fiscali(text: str) -> Iterator[Span]:
    """Italian tax codes of persons, by their checksum (library `python-stdnum`)."""
    return (code.span() for code in _CODICE_FISCALE.finditer(text) if codicefiscale.is_valid(code[0]))


def _partite_iva(text: str) -> Iterator[Span]:
    """Italian VAT numbers, by their checksum (library `python-stdnum`)."""
    for number in _ELEVEN.finditer(text):
        before = text[max(number.start() - 40, 0) : number.start()].rsplit("\n", 1)[-1]
        if iva.is_valid(number[1]) and (number[0] != number[1] or _IVA_WORD.search(before)):
            yield number.span(1)


def _credit_cards(text: str) -> Iterator[Span]:
    """Card numbers, by their issuer and checksum (library `python-stdnum`)."""
    for card in _CARD.finditer(text):
        digits = re.sub(r"\D", "", card[0])
        if _ISSUER.fullmatch(digits) and luhn.is_valid(digits):
            yield card.span()


def _phones(text: str) -> Iterator[Span]:
    """Telephones of Italy, Portugal, Brazil, the United States, and abroad (library `phonenumbers`)."""
    spans: list[Span] = []
    for line in lines_with(_DIGITS, text):
        spans += [number.span() for number in _ABROAD.finditer(text, *line) if _is_phone(number[0], None)]
        spans += [
            number.span(1)
            for number in _CALLED.finditer(text, *line)
            if not _DATE.match(number[1]) and any(_is_phone(number[1], region) for region in _PHONE)
        ]
        for region, pattern in _PHONE.items():
            found = (number for number in pattern.finditer(text, *line) if not _is_other(text, number))
            spans += [number.span() for number in found if _is_phone(number[0], region)]
    yield from _apart(spans)


def _is_other(text: str, number: re.Match[str]) -> bool:
    return bool(
        _DATE.fullmatch(number[0])
        or _THOUSANDS.fullmatch(number[0])
        or _NUMBERED.search(text, max(number.start() - 16, 0), number.start())
    )


@lru_cache(maxsize=4096)
def _is_phone(written: str, region: str | None) -> bool:
    if region is None:
        written = re.sub(r"\A00", "+", written)
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return False
    if region is None and len(re.sub(r"\D", "", written)) > 9:
        return phonenumbers.is_possible_number(number)  # who writes + and a country means a telephone
    return phonenumbers.is_valid_number(number)


def _ip_addresses(text: str) -> Iterator[Span]:
    """Public and private IPv4, IPv6; not the loopback, not version numbers."""
    spans = [
        match.span() if match[1] is None else (match.start(), match.start(1))
        for match in _IPV4.finditer(text)
        if _is_host(match[0].split("/")[0], match[1])
        and not _VERSION_WORD.search(text, max(match.start() - 20, 0), match.start())
    ]
    spans += [match.span() for match in _IPV6.finditer(text) if _is_host(match[0], None)]
    yield from _apart(spans)


@lru_cache(maxsize=4096)
def _is_host(written: str, prefix: str | None) -> bool:
    """Tell an address of some machine from a loopback, a mask, a whole private network or no address.

    Addresses kept for documentation go like all others: in a memory that was masked they stand in
    the place of real ones, and nothing is lost with them.
    """
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or written.startswith("255."):
        return False
    return not (prefix and address.is_private and int(prefix[1:]) < 31 and written.endswith(".0"))


def _macs(text: str) -> Iterator[Span]:
    """Network cards."""
    # Six pairs of digits with hyphens are a moment; all zeros or all f are nobody's.
    return (
        mac.span()
        for mac in _MAC.finditer(text)
        if len(set(mac[0].lower()) - {":", "-"}) > 1 and (mac[1] == ":" or re.search("[A-Fa-f]", mac[0]))
    )


def _homes(text: str) -> Iterator[Span]:
    r"""The name in `/home/NAME`, `/Users/NAME`, `C:\Users\NAME`."""
    return (home.span(1) for home in _HOME.finditer(text) if home[1].lower() not in _NOBODY)


FINDERS: MappingProxyType[str, Callable[[str], Iterator[Span]]] = MappingProxyType(
    {
        "api_key": _api_keys,
        "jwt": _jwts,
        "bearer": _bearers,
        "connection_string": _connection_strings,
        "password": find_passwords,
        "email": _emails,
        "iban": _ibans,
        "codice_fiscale": _codici_fiscali,
        "credit_card": _credit_cards,
        "partita_iva": _partite_iva,
        "phone": _phones,
        "mac_address": _macs,
        "ip_address": _ip_addresses,
        "home_path": _homes,
    }
)
"""The rules that need one line only, in their order: known forms before a value that only a word gives
away, and what has a checksum before what only has a shape. docs/privacy.md shows their docstrings."""
