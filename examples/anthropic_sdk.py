"""Anthropic's SDK, unchanged but for its base URL: `python examples/anthropic_sdk.py [URL]`.

The answer may come from any model of the pool, whatever API that model speaks.
"""

from __future__ import annotations

import sys

import anthropic

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8400"
client = anthropic.Anthropic(base_url=url, api_key="none")

messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": "Say hello in French."}]
with client.messages.stream(model="auto", max_tokens=200, messages=messages) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
    answer = stream.get_final_message()
print(f"\n{answer.model}: {answer.usage.input_tokens} tokens in, {answer.usage.output_tokens} out")
