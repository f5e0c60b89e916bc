"""The official OpenAI SDK, unchanged but for its base URL: `python examples/openai_sdk.py [URL]`."""

from __future__ import annotations

import sys

from openai import OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8400"
client = OpenAI(base_url=f"{url}/v1", api_key="none")

stream = client.chat.completions.create(
    model="auto",
    messages=[{"role": "user", "content": "Say hello in French."}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
