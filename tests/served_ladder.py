"""A configuration whose `auto` climbs a ladder, and the ladder in the database that a server will open."""

from __future__ import annotations

import asyncio
from pathlib import Path

from junctor.assemble import choose_members
from junctor.routing.abilities import identity_of
from junctor.routing.calibration.store import CalibrationStore
from junctor.settings import read_settings
from junctor.store.database import Database
from ladders import a_ladder
from running import environment

ALL_DIFFER = "In what do 3 models differ? How many 1s?"
"Each model reads 100 tokens, has its own answer, and writes 10, 20, 30 or 40: all four are asked."
ALL_DIFFER_NANO = 110 * 1000 + 120 * 1000 + 130 * 2000 + 140 * 30_000
"What that costs, 1e-9 USD."
MODEL = """
[[models]]
name = "{name}"
provider = "scripted"
price = {{ input = {usd}, output = {usd} }}
ability = {ability}
skills = ["tools", "json"]
script = [
  {{ when = "differ", text = "{name} says ", usage = {{ input_tokens = 100, output_tokens = {tokens} }} }},
  {{ text = "\\\\boxed{{{own}}}." }},
  {{ when = "tale of 3", text = "Once upon a time there was a {name}, and it was happy for long." }},
  {{ when = "linger", delay_s = {linger} }}, {{ text = "42" }},
  {{ when = "weather", tool_call = {{ name = "weather", arguments = '{{"city": "Rome"}}' }} }},
  {{ turn = true, text = "They have " }}, {{ text = "\\\\boxed{{42}} legs." }},
]
"""
POOL = (
    ("cheap-a", 1.0, 0.7, 1, 10, 0),
    ("cheap-b", 1.0, 0.7, 2, 20, 60),
    ("cheap-c", 2.0, 0.7, 3, 30, 0),
    ("strong", 30.0, 0.9, 4, 40, 0),
)
CONFIG = "[retries]\nattempts = 1\n" + "".join(
    MODEL.format(name=name, usd=usd, ability=ability, own=own, tokens=tokens, linger=linger)
    for name, usd, ability, own, tokens, linger in POOL
)


def store_ladder(config: str, folder: Path) -> None:
    """Put a ladder into the database that a server will open."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "junctor.toml"
    file.write_text(config, encoding="utf-8")

    async def store() -> None:
        members = await choose_members(read_settings(file), environment(folder))
        async with Database(folder / "junctor.db") as database:
            identities = {member.card.name: identity_of(member.card) for member in members}
            await CalibrationStore(database).save_ladder(a_ladder(), identities, use=True)

    asyncio.run(store())
