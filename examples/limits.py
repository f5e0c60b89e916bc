"""Limits on which model may answer, and what the reply says of it: `python examples/limits.py [URL]`."""

from __future__ import annotations

import sys

import openai

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8400"
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")


def ask(**junctor: object) -> None:
    try:
        reply = client.chat.completions.with_raw_response.create(
            model="auto",
            messages=[{"role": "user", "content": "What is 17 * 23?"}],
            max_tokens=16,
            extra_body={"junctor": junctor},
        )
    except openai.UnprocessableEntityError as error:
        print(junctor, "-> no model:", error.message)
    else:
        print(junctor, "->", reply.headers["x-junctor-model"], reply.headers["x-junctor-cost"], "USD")


ask(mode="cost")
ask(mode="quality")
ask(quality=0.4)
ask(max_usd=0)
