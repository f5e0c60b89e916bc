"""Read a decision over HTTP: which model, why, and why not the others: `python examples/why.py [URL]`."""

from __future__ import annotations

import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8400"
client = OpenAI(base_url=f"{url}/v1", api_key="none")

reply = client.chat.completions.with_raw_response.create(
    model="auto", messages=[{"role": "user", "content": "Is 7 a prime number?"}], max_tokens=8
)
decision: dict = client.get(f"{url}/api/decisions/{reply.headers['x-junctor-decision']}", cast_to=object)
print(decision["chosen"], "because:", decision["rule"])
for candidate in decision["candidates"]:
    print(f"  {candidate['name']}: {candidate['p_good']:.0%}", candidate["refused_because"] or "(chosen)")
print("It cost", decision["outcome"]["usd"], "USD and saved", decision["outcome"]["saved_usd"], "USD.")
