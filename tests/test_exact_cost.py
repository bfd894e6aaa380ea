"""Costs and break-even, from whatever figures a question gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cervella_rag.memory.exact.cost import read_cost
from cervella_rag.memory.exact.cost_sums import compute

ITALIAN = (
    "Quanto costano 20K e 80K richieste al mese? Orsa API: €2,50/M token in ingresso, €10/M in "
    "uscita; cache: lettura"
    " €0,25/M, scrittura €3,00/M, 80% di successi. 1.000 token in ingresso e 300 in uscita per richiesta."
    " Alternative: Nuvola €120 al mese, Ferro €90; più €30 al mese di manutenzione e €120 una "
    "tantum su 12 mesi."
)
ENGLISH = (
    "Break-even please. Input costs $1 per million tokens, output $4 per million. 2,000 input "
    "tokens and 500 output"
    " tokens per request, 1.5M requests a month. Own machine: BigIron $600 a month."
)


def figures(question: str) -> dict[str, Any]:
    asked = read_cost(question)
    assert asked is not None
    return dict(compute(asked).details)


def test_a_cache_a_decimal_comma_and_fixed_costs() -> None:
    told = figures(ITALIAN)
    # 1000 x (.8 x .25 + .2 x 3) + 300 x 10 = 800 + 3000 a million
    assert (told["per_request"], told["per_request_uncached"]) == ("0.0038", "0.0055")
    assert [(v["requests"], v["api"]) for v in told["volumes"]] == [(20_000, "76.00"), (80_000, "304.00")]
    assert [(o["name"], o["monthly"]) for o in told["options"]] == [
        ("Nuvola", "160.00"),
        ("Ferro", "130.00"),
    ]
    assert [o["break_even"] for o in told["options"]] == [42_106, 34_211]  # 160 / .0038 = 42,105.3
    assert [v["cheapest"] for v in told["volumes"]] == ["", "Ferro"]
    assert told["decimal_comma"]


def test_english_without_a_cache() -> None:
    told = figures(ENGLISH)
    assert told["per_request"] == "0.004"
    assert told["volumes"][0]["api"] == "6000.00"
    assert [(o["name"], o["break_even"]) for o in told["options"]] == [("BigIron", 150_000)]
    assert not told["cached"]


def test_money_is_rounded_half_up_once() -> None:
    asked = read_cost(
        "Costi di 30K richieste: $3/M in ingresso, $15/M in uscita, cache scrittura $3.75/M, "
        "lettura $0.30/M, 90% di"
        " successi, 500 token in ingresso e 200 in uscita"
    )
    assert asked is not None
    assert asked.hit_rate == Decimal("0.9")
    assert compute(asked).value == {
        "per_request": "0.0033225",
        "costs": {"30000": "99.68"},
        "break_even": {},
    }


@pytest.mark.parametrize(
    "question",
    [
        "Quanto costa Claude, $3/M in ingresso e $15/M in uscita?",
        "Costi di 30K richieste al mese?",
        "Costi: $3/M in ingresso, $15/M in uscita, 0 token in ingresso e 0 token in uscita",
        "x" * 5000,
    ],
)
def test_without_all_figures_nothing_is_computed(question: str) -> None:
    assert read_cost(question) is None


def test_free_tokens_have_no_break_even() -> None:
    asked = read_cost(
        "Costi di 10K richieste: $0/M in ingresso, $0/M in uscita, 500 token in ingresso e 200 "
        "in uscita, Ferro $90"
    )
    assert asked is not None
    assert compute(asked).value is None
