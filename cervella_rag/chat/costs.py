"""What the answers cost: tokens that were counted, by an API's price and by a machine's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cervella_rag.domain import Usage

_MILLION = 1_000_000


def count_costs(
    usage: Iterable[Usage], *, input_usd: float, output_usd: float, machine_month_usd: float
) -> dict[str, Any]:
    """Return counted tokens with their prices in dollars, and where a machine pays.

    Args:
        usage: What every voice counted; turns without counts have no price.
        input_usd: For a million tokens read.
        output_usd: For a million tokens written.
        machine_month_usd: A machine for a month, whatever it answers.

    `break_even_turns` is how many turns a month, as long as the mean of those counted, cost the API as much
    as the machine; None where nothing was counted or the API is free.
    """
    voices = list(usage)
    counted = sum(voice.counted for voice in voices)
    read, written = (
        sum(getattr(voice, name) for voice in voices) for name in ("prompt_tokens", "completion_tokens")
    )
    api = (read * input_usd + written * output_usd) / _MILLION
    each = api / counted if counted else 0.0
    return {
        "turns": sum(voice.turns for voice in voices),
        "counted": counted,
        "prompt_tokens": read,
        "completion_tokens": written,
        "api_usd": round(api, 4),
        "api_usd_per_turn": round(each, 6),
        "machine_month_usd": machine_month_usd,
        "break_even_turns": round(machine_month_usd / each) if each else None,
        "voices": [
            {
                "voice": voice.mode,
                "model": voice.model,
                "turns": voice.turns,
                "counted": voice.counted,
                "prompt_tokens": voice.prompt_tokens,
                "completion_tokens": voice.completion_tokens,
            }
            for voice in voices
        ],
    }
