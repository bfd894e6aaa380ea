"""What must not be known leaves the text; what only looks like it stays.

Every secret here is made up and put together from parts, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cervella_rag.memory.redaction import RULES, Redactor, StreamRedactor

REDACTOR = Redactor()
DASHES = "-" * 5
BEGIN, END = f"{DASHES}BEGIN RSA PRIVATE" + f" KEY{DASHES}", f"{DASHES}END RSA PRIVATE" + f" KEY{DASHES}"
BODY = "MIIEow" + "Ab3/" * 14
RANDOM = "aB3dE5gH" * 5
JWT = "eyJ" + "hbGciOiJub25lIn0" + ".eyJ" + "zdWIiOiJjZXJ2ZWxsYSJ9" + "." + "c2ln" * 5
CARD = "4111 1111 " + "1111 1111"
IBAN = "IT60X0542811101" + "000000123456"
CODICE = "RSSMRA85" + "T10A562S"
PARTITA_IVA = "00743" + "110157"


def redacted(text: str) -> str:
    return REDACTOR.redact(text).text


def streamed(text: str, cuts: list[int]) -> str:
    stream = StreamRedactor(REDACTOR)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(places)]
    return "".join([*map(stream.feed, pieces), stream.finish()])


# Each line: the rule, the text, and the part of it that goes.
HITS = [
    *(("api_key", f"| chiave | {key} |", key) for key in [
        "sk-" + RANDOM, "sk-" + "proj-" + RANDOM, "sk-" + "ant-api03-" + RANDOM, "gh" + "p_" + RANDOM[:36],
        "gh" + "o_" + RANDOM[:36], "github" + "_pat_" + RANDOM, "gl" + "pat-" + RANDOM[:20],
        "AK" + "IA" + "ABCD1234" * 2,
        "AS" + "IA" + "ABCD1234" * 2, "AI" + "za" + RANDOM[:35], "xo" + "xb-" + "1234567890-" + RANDOM[:24],
        "sk" + "_live_" + RANDOM[:24], "rk" + "_live_" + RANDOM[:24], "h" + "f_" + RANDOM[:34],
        "12345" + "6789:" + RANDOM[:35], "SG" + "." + RANDOM[:22] + "." + RANDOM, "np" + "m_" + RANDOM[:36],
        "py" + "pi-" + RANDOM, "S" + "K" + "0a1b2c3d" * 4,
    ]),
    ("api_key", "export ANTHROPIC_API_KEY=" + "sk-" + "ant-" + RANDOM, "sk-" + "ant-" + RANDOM),
    ("api_key", "aws_secret_access_key = " + RANDOM, RANDOM),
    ("api_key", "curl https://api.telegram.org/bot12345" + "6789:" + RANDOM[:35] + "/getMe",
     "bot123456789:" + RANDOM[:35]),
    ("jwt", f"il token e' `{JWT}`, scade domani", JWT),
    ("jwt", f'"session": "{JWT}"', JWT),
    ("bearer", f"curl -H 'Authorization: Bearer {RANDOM}' https://x.y", RANDOM),
    ("bearer", "Authorization: Basic cmFmYTpz" + "ZWdyZXRh", "cmFmYTpzZWdyZXRh"),
    ("bearer", f'headers = {{"Authorization": "Bearer {RANDOM}"}}', RANDOM),
    ("password", "DB_PASSWORD=segretissima", "segretissima"),
    ("password", "export SMTP_PASS='Estate2025!'", "Estate2025!"),
    ("password", '  "password": "segretissima",', "segretissima"),
    ("password", "  password: segretissima", "segretissima"),
    ("password", 'clientSecret = "q8Zr-77f-Lm"', "q8Zr-77f-Lm"),
    ("password", "mysql --password=segretissima -u rafa", "segretissima"),
    ("password", "cervella login --password Estate2025", "Estate2025"),
    ("password", "https://x.y/z?user=rafa&token=abcdef&page=2", "abcdef"),
    ("password", "La password del router è Estate2025!, non dirla.", "Estate2025!"),
    ("password", "la parola d'ordine e' Gatto-99", "Gatto-99"),
    ("password", "- **Senha:** Verao2025", "Verao2025"),
    ("password", "| Password | Estate2025 |", "Estate2025"),
    ("password", "the password is hunter2, again", "hunter2"),
    ("password", "PIN: 48213", "48213"),
    ("password", "il PIN della carta è 4821.", "4821"),
    ("password", 'passphrase = "quattro parole messe insieme"', "quattro parole messe insieme"),
    ("connection_string", "DATABASE_URL=postgres://rafa:Estate25@db.x.it:5432/cervella", "rafa:Estate25"),
    ("connection_string", "mongodb+srv://u:p%40ss@c.x.net/z", "u:p%40ss"),
    ("connection_string", "redis://:Estate25@cache/0", ":Estate25"),
    ("connection_string", "`Server=db1;Database=cervella;Password=Estate25;`", "Estate25"),
    ("email", "Scrivi a mario.rossi@studio.it.", "mario.rossi@studio.it"),
    ("email", "| Mario | mario+casa@mail.example.com |", "mario+casa@mail.example.com"),
    ("email", "<mailto:joana@empresa.com.br>", "joana@empresa.com.br"),
    *(("phone", f"Chi chiede di Mario: {number}, dopo le nove", number) for number in [
        "+39 347 123 4567", "0039 06 6982 1234", "347 1234567", "347-123-4567", "3471234567", "02 12345678",
        "+351 912 345 678", "912 345 678", "(11) 98765-4321", "+55 11 98765-4321", "(212) 736-5000",
        "212-736-5000", "+1 212 736 5000", "+44 20 7946 0958",
    ]),
    ("phone", "| Tel. | 0431 85555 |", "0431 85555"),
    ("iban", f"Bonifico su {IBAN} entro lunedì", IBAN),
    ("iban", "IBAN: IT60 X054 2811 1010 " + "0000 0123 456 INTESTATO A MARIO",
     "IT60 X054 2811 1010 0000 0123 456"),
    ("iban", "PT50 0002 0123 " + "1234 5678 9015 4", "PT50 0002 0123 1234 5678 9015 4"),
    ("codice_fiscale", f"C.F. {CODICE}", CODICE),
    ("codice_fiscale", f"| Mario | {CODICE.lower()} |", CODICE.lower()),
    ("partita_iva", f"P.IVA {PARTITA_IVA}", PARTITA_IVA),
    ("partita_iva", f"Fornitore IT{PARTITA_IVA}, Milano", PARTITA_IVA),
    ("credit_card", f"carta {CARD}", CARD),
    ("credit_card", "| Amex | 3782 822463 " + "10005 |", "3782 822463 10005"),
    ("ip_address", "curl http://203.0.113.10:8002/health", "203.0.113.10"),
    ("ip_address", "la stampante è 192.168.1.20.", "192.168.1.20"),
    ("ip_address", "da 10.0.0.4-10.0.0.5", "10.0.0.5"),
    ("ip_address", "ssh root@2001:db8::42", "2001:db8::42"),
    ("mac_address", "| scheda | 3c:22:fb:0a:1b:2c |", "3c:22:fb:0a:1b:2c"),
    ("mac_address", "MAC 3C-22-FB-0A-1B-2C", "3C-22-FB-0A-1B-2C"),
    ("home_path", "cd /Users/mario/Developer", "mario"),
    ("home_path", "scp vm:/home/mario.rossi/x .", "mario.rossi"),
    ("home_path", r"C:\Users\Mario Rossi\Documents", "Mario Rossi"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "secret"), HITS)
def test_what_must_not_be_known_goes(rule: str, text: str, secret: str) -> None:
    before, _, after = text.rpartition(secret)
    result = REDACTOR.redact(text)
    if rule == "ip_address" and "-" in text:
        assert result.text == "da [redacted:ip_address]-[redacted:ip_address]"
        return
    assert result.text == f"{before}[redacted:{rule}]{after}"
    assert result.found == {rule: 1}


@pytest.mark.parametrize(
    "text",
    [
        "export ANTHROPIC_API_KEY=sk-ant-...", 'api_key="sk-xxxxxxxxx",',
        "usa sk-learn-con-la-pipeline-nuova",
        "eyJhbGciOiJIUzI1NiIs...", "Authorization: Bearer $TOKEN", "Authorization: Bearer <token>",
        "Bearer authentication",
        "password: mai nei file", "la password va cambiata", "Password: ***", "password: <password>",
        "PASSWORD=${DB_PASSWORD}",
        'api_key=os.environ["OPENAI_API_KEY"]', "api_key=os.getenv('KEY', 'x')", "token: xxx",
        "POSTGRES_PASSWORD: changeme",
        "password: str", "api_key: Optional[str] = None", "self.api_key = api_key", "max_tokens=4096",
        "eos_token='</s>2x'",
        "token: ~3-5 sec (CPU)", "1380 token = OTTIMA", "**Secret:** SI (DNA)",
        "password: ${{ secrets.GITHUB_TOKEN }}",
        "API_KEY=$(openssl rand -hex 32)", "--set-secrets=API_KEY=anthropic-api-key:latest",
        "API_KEY=<your-api-key>",
        "il token di Qwen3-4B", "secret: /run/secrets/db", "spin: 1234", "mapping: 4821",
        "password=password",
        '"checklist_pass": "14/15"', "la chiave è la semplicità", "API key: vast.ai/console/cli/",
        "postgres://${USER}:${PASSWORD}@db/x", "https://x.y:8080/z@2", "actions/checkout@v4",
        "Precision@k", "icon@2x.png",
        "git@github.com:rafa/x.git", "deploy@server", "@app.get('/x')",
        "2026-01-10 12:30:45", "10/01/2026", "02-12-2026", "righe 120-135", "versione 6.3.0",
        "€ 1.234.567,89", "10.000.000",
        "commit 3471234567abc", "id 3471234567", "1736510400", "12.345.678.901", "2 182 300 456",
        "ISBN 978-88-06-21234-5",
        "IT60X0542811101000000123457", "AB12 CDEF 3456 7890 1234", "RSSMRA85T10A562T",
        "PROMPT_RIPRESA_miracollo",
        f"ordine {PARTITA_IVA}", "P.IVA 00743110158", "4111 1111 1111 1112", "1736510400123",
        "127.0.0.1:6333", "0.0.0.0/0", "::1", "255.255.255.0", "10.0.0.0/8", "v1.2.3.4",
        "pacchetto==1.2.3.4", "versione 1.2.3.4",
        "#### 1.2.3.4 Titolo", "999.1.2.3", "std::vector", "12:30:45", "00:00:00:00:00:00",
        "26-01-10-12-30-45",
        "/home/ubuntu/x", "/Users/Shared", "https://x.it/home/prodotti", "/home/$USER", "/home/<nome>",
        f"{DASHES}BEGIN PUBLIC KEY{DASHES}", f"Un file che ha `{BEGIN}` non si salva.",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_private_key_goes_line_by_line() -> None:
    text = f"prima\n  {BEGIN}\n  Proc-Type: 4,ENCRYPTED\n\n  {BODY}\n  {BODY[:9]}=\n  {END}\ndopo"
    key = "  [redacted:private_key]"
    assert redacted(text).split("\n") == ["prima", key, key, "", key, key, key, "dopo"]


def test_a_private_key_that_never_ends_ends_with_its_base64() -> None:
    lines = redacted(f"> {BEGIN}\n> {BODY}\n\nPoi parliamo d'altro.\n{BODY}").split("\n")
    assert lines == ["> [redacted:private_key]"] * 2 + ["", "Poi parliamo d'altro.", BODY]


def test_a_private_key_on_one_line_goes() -> None:
    text = f'"private_key": "{BEGIN}\\n{BODY}\\n{END}\\n", "id": 1'
    assert redacted(text) == '"private_key": "[redacted:private_key]\\n", "id": 1'


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_can_be_off(rule: str) -> None:
    text = next((text for name, text, _ in HITS if name == rule), f"{BEGIN}\n{BODY}\n{END}")
    assert rule in REDACTOR.redact(text).found
    assert rule not in Redactor(off=[rule]).redact(text).found


def test_the_name_tells_the_rules() -> None:
    assert REDACTOR.name == Redactor().name != Redactor(off=["email"]).name
    assert REDACTOR.name.startswith("redaction-1:")


def test_an_unknown_rule_cannot_be_off() -> None:
    with pytest.raises(ValueError, match="emial"):
        Redactor(off=["emial"])


FRAGMENTS = st.sampled_from([
    *(text for _, text, _ in HITS), *(secret for _, _, secret in HITS),
    *(f"[redacted:{rule}]" for rule in RULES),
    BEGIN, END, BODY, " ", "  ", "\n", ": ", "=", "|", '"', "'", "`", ".", "-", "@", "password", "token",
    "PIN", "è",
    "tel", "347", "12", "(", "+", "IT60", "una parola", "Il", "10.0.0.4", "/home/", "C:\\Users\\",
    "Bearer", "\t",
])  # fmt: skip
TEXTS = st.lists(FRAGMENTS | st.text(max_size=5), max_size=12).map("".join)


@settings(deadline=None)
@given(TEXTS)
def test_nothing_is_redacted_twice_and_lines_stay(text: str) -> None:
    once = redacted(text)
    assert REDACTOR.redact(once).found == {}
    assert redacted(once) == once
    assert once.count("\n") == text.count("\n")


@settings(deadline=None)
@given(TEXTS, st.lists(st.integers(0, 500), max_size=8))
def test_a_stream_is_redacted_as_the_whole(text: str, cuts: list[int]) -> None:
    assert streamed(text, cuts) == redacted(text)


@pytest.mark.parametrize(("rule", "text", "secret"), HITS)
def test_a_stream_of_letters_is_redacted_as_the_whole(rule: str, text: str, secret: str) -> None:
    assert streamed(text, list(range(len(text)))) == redacted(text)


def test_a_long_line_is_redacted_as_the_whole() -> None:
    text = "parola " * 250 + "a mario@studio.it " + "parola " * 250 + "al 347 123 4567 poi basta"
    assert streamed(text, list(range(0, len(text), 3))) == redacted(text)


def test_prose_is_shown_with_a_word_of_delay() -> None:
    text = (
        'Rafa, deciso: Qdrant. La password non c\'entra, e "il forno" di 2 ore (circa) resta.\nPoi si vede.'
    )
    stream, shown = StreamRedactor(REDACTOR), ""
    for position, letter in enumerate(text, 1):
        shown += stream.feed(letter)
        held = text[len(shown) : position]
        assert text.startswith(shown)
        assert len(held.split()) <= 1
    assert shown + stream.finish() == text


@pytest.mark.parametrize(
    "part",
    [
        "a", "1", "a.", "1.", "a@", "-", "=", "/", ":", "sk-", "eyJ", "password ", "password: a1", "+1 ",
        "+39 ", "(1",
        "3471234567 ", "IT60X", "IT60 ", "1 ", "://a:", "a;b=", "server=a;", '"', "token=", "/home/",
        "è ", "1:", DASHES, BEGIN,
        "10.0.0.4 ", "4111 1111 ", "?token=", "pass",
    ],
)  # fmt: skip
def test_giant_lines_are_fast(part: str) -> None:
    line = part * (200_000 // len(part))
    start = time.process_time()
    redacted(line)
    assert time.process_time() - start < 1
