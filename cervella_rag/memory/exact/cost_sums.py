"""What an API costs against a machine of one's own, from the figures that a question gives.

A request costs its tokens in and out, each at its price for a million; with a cache, what is found in it is
read at one price and what is not is written at another. A machine costs its rent, what it takes to keep it,
and what is paid once, spread over months. All in decimals; a cent is rounded half up, once, at the end.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from cervella_rag.domain import Exact
from cervella_rag.memory.exact.cost import CostQuestion

MILLION = Decimal(1_000_000)


def compute(question: CostQuestion) -> Exact:
    """Compute costs by volume, and from how many requests a month a machine of one's own is cheaper."""
    q = question
    plain = (q.input_tokens * q.input_price + q.output_tokens * q.output_price) / MILLION
    per_request = plain
    if q.cache_read is not None and q.cache_write is not None:
        held, missed = q.input_tokens * q.hit_rate, q.input_tokens * (1 - q.hit_rate)
        tokens_in = held * q.cache_read + missed * q.cache_write
        per_request = (tokens_in + q.output_tokens * q.output_price) / MILLION
    if per_request <= 0:
        return Exact("cost", None)
    spread = q.once / q.months
    options = []
    for hosting in q.hostings:
        monthly = hosting.monthly + q.keeping + spread
        options.append(
            {
                "name": hosting.name,
                "rent": _money(hosting.monthly),
                "monthly": _money(monthly),
                "break_even": _least(monthly / per_request),
                "break_even_thousands": _thousands(monthly / per_request),
                "break_even_rent_only": _least(hosting.monthly / per_request),
                "break_even_rent_only_thousands": _thousands(hosting.monthly / per_request),
                "break_even_uncached": _least(monthly / plain),
            }
        )
    volumes = [_at(volume, per_request, plain, q, spread) for volume in q.volumes]
    value = {
        "per_request": _shown(per_request),
        "costs": {str(volume["requests"]): volume["api"] for volume in volumes},
        "break_even": {str(option["name"]): option["break_even"] for option in options},
    }
    details: dict[str, object] = {
        "currency": q.currency,
        "decimal_comma": q.decimal_comma,
        "per_request": _shown(per_request),
        "per_request_uncached": _shown(plain),
        "cached": q.cache_read is not None,
        "input_tokens": _shown(q.input_tokens),
        "output_tokens": _shown(q.output_tokens),
        "input_price": _shown(q.input_price),
        "output_price": _shown(q.output_price),
        "cache_write": _shown(q.cache_write) if q.cache_write is not None else None,
        "cache_read": _shown(q.cache_read) if q.cache_read is not None else None,
        "hit_percent": _shown(q.hit_rate * 100),
        "keeping": _money(q.keeping) if q.keeping else None,
        "once": _money(q.once) if q.once else None,
        "months": q.months,
        "spread": _money(spread),
        "volumes": volumes,
        "options": options,
    }
    return Exact("cost", value, details=details)


def _at(
    requests: int, per_request: Decimal, plain: Decimal, q: CostQuestion, spread: Decimal
) -> dict[str, object]:
    api = requests * per_request
    hosted = [(hosting.monthly + q.keeping + spread, hosting.name) for hosting in q.hostings]
    cheapest = min([(api, ""), *hosted], key=lambda pair: pair[0])
    return {
        "requests": requests,
        "short": _short(requests),
        "api": _money(api),
        "api_uncached": _money(requests * plain),
        "cheapest": cheapest[1],
    }


def _money(value: Decimal) -> str:
    return str(value.quantize(Decimal("0.01"), ROUND_HALF_UP))


def _shown(value: Decimal) -> str:
    whole, _, cents = f"{value:.10f}".rstrip("0").partition(".")
    return f"{whole}.{cents:0<2}" if cents else whole  # 0.30 and not 0.3


def _least(value: Decimal) -> int:
    """Return the first whole number of requests at which the machine costs no more."""
    return int(value.to_integral_value(ROUND_CEILING))


def _thousands(value: Decimal) -> str:
    return str((value / 1000).quantize(Decimal("0.1"), ROUND_HALF_UP))


def _short(requests: int) -> str:
    if requests % 1_000_000 == 0:
        return f"{requests // 1_000_000}M"
    return f"{requests // 1000}K" if requests % 1000 == 0 else str(requests)
