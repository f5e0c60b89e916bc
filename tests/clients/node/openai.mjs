// The official OpenAI SDK for Node, unmodified, against a running Junctor.
//
//     node openai.mjs BASE_URL KEY
//
// Prints one JSON object: what each conversation below came to. tests/clients/test_openai_node.py judges it.
import OpenAI, { AzureOpenAI } from "openai";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 20_000 });
const ask = (text) => [{ role: "user", content: text }];
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

// What an error is to a caller of the SDK.
async function caught(work) {
  try {
    await work();
    return { raised: null };
  } catch (error) {
    const { status, code, param, type, requestID, message } = error;
    return { raised: error.constructor.name, status, code, param, type, requestID, message };
  }
}

async function textOf(stream) {
  const pieces = [];
  for await (const chunk of stream) pieces.push(chunk.choices[0]?.delta?.content ?? "");
  return pieces.join("");
}

const conversations = {
  async plain() {
    const { data, response } = await client.chat.completions
      .create({ model: "small", messages: ask("Hi") })
      .withResponse();
    return {
      text: data.choices[0].message.content,
      finish: data.choices[0].finish_reason,
      total: data.usage.total_tokens === data.usage.prompt_tokens + data.usage.completion_tokens,
      requestId: data._request_id,
      model: response.headers.get("x-junctor-model"),
      cost: Number(response.headers.get("x-junctor-cost")),
    };
  },

  async streamed() {
    const stream = await client.chat.completions.create({
      model: "small",
      messages: ask("Hi"),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return {
      text: chunks.map((it) => it.choices[0]?.delta?.content ?? "").join(""),
      lastChoices: chunks.at(-1).choices.length,
      tokens: chunks.at(-1).usage.completion_tokens,
      earlierUsage: chunks.slice(0, -1).some((it) => it.usage),
    };
  },

  async tools() {
    const { choices } = await client.chat.completions.create({
      model: "small",
      messages: ask("What is the weather in Rome?"),
      tools: [WEATHER],
    });
    return { call: choices[0].message.tool_calls[0], finish: choices[0].finish_reason };
  },

  // The SDK's own loop: it calls the function, sends the result, and asks again.
  async toolLoop() {
    const asked = [];
    const runner = client.chat.completions.runTools({
      model: "small",
      stream: true,
      messages: ask("What is the weather in Rome?"),
      tools: [
        {
          ...WEATHER,
          function: {
            ...WEATHER.function,
            parse: JSON.parse,
            function: ({ city }) => {
              asked.push(city);
              return "It is sunny.";
            },
          },
        },
      ],
    });
    return { asked, text: await runner.finalContent() };
  },

  async auto() {
    const { data, response } = await client.chat.completions
      .create({ model: "auto", messages: ask("Say hello."), junctor: { mode: "quality" } })
      .withResponse();
    const decision = await client.get(`${url}/api/decisions/${response.headers.get("x-junctor-decision")}`);
    return { text: data.choices[0].message.content, chosen: decision.chosen, outcome: decision.outcome.outcome };
  },

  unknownModel: () => caught(() => client.chat.completions.create({ model: "smal", messages: ask("Hi") })),
  badRequest: () =>
    caught(() => client.chat.completions.create({ model: "auto", messages: ask("Hi"), junctor: { modde: 1 } })),
  noModelFits: () =>
    caught(() => client.chat.completions.create({ model: "auto", messages: ask("Hi"), junctor: { max_usd: 0 } })),
  wrongKey: () =>
    caught(() => client.withOptions({ apiKey: "wrong" }).chat.completions.create({ model: "small", messages: ask("Hi") })),
  upstreamBroken: () => caught(() => client.chat.completions.create({ model: "small", messages: ask("break at once") })),
  rateLimited: () => caught(() => client.chat.completions.create({ model: "small", messages: ask("busy") })),
  // Two retries are the SDK's default: Junctor has retried already, and says so.
  noSecondTry: () =>
    caught(() =>
      client.withOptions({ maxRetries: 2 }).chat.completions.create({ model: "small", messages: ask("count me and break") }),
    ),

  async brokenInMidStream() {
    let text = "";
    const error = await caught(async () => {
      const stream = await client.chat.completions.create({ model: "small", messages: ask("half"), stream: true });
      for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    });
    return { text, ...error };
  },

  async aborted() {
    const stream = await client.chat.completions.create({ model: "hang", messages: ask("Hi"), stream: true });
    let text = "";
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      if (text) break; // leaves the loop, and with it the connection
    }
    return { text, aborted: stream.controller.signal.aborted };
  },

  async responses() {
    const first = await client.responses.create({ model: "small", input: "Hi", instructions: "Be kind." });
    const second = await client.responses.create({ model: "small", input: "Go on", previous_response_id: first.id });
    const again = await client.responses.retrieve(first.id);
    await client.responses.delete(first.id);
    const gone = await caught(() => client.responses.retrieve(first.id));
    return { text: first.output_text, previous: second.previous_response_id === first.id, same: again.id === first.id, gone };
  },

  async responsesStreamed() {
    const types = [];
    let text = "";
    const stream = await client.responses.create({ model: "small", input: "Hi", stream: true });
    for await (const event of stream) {
      types.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    return { text, first: types[0], last: types.at(-1) };
  },

  async responsesTool() {
    const { output } = await client.responses.create({
      model: "small",
      input: "What is the weather in Rome?",
      tools: [{ type: "function", strict: false, ...WEATHER.function }],
    });
    const { name, arguments: args } = output.find((item) => item.type === "function_call");
    return { name, args };
  },

  async embeddings() {
    const { data, usage } = await client.embeddings.create({ model: "vectors", input: ["one", "two"] });
    return { count: data.length, numbers: data.every((it) => it.embedding.every(Number.isFinite)), tokens: usage.total_tokens };
  },

  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids, owner: (await client.models.retrieve("small")).owned_by };
  },

  async azure() {
    const azure = new AzureOpenAI({ endpoint: url, apiKey: key, apiVersion: "2024-10-21", deployment: "small", maxRetries: 0 });
    const { choices } = await azure.chat.completions.create({ model: "small", messages: ask("Hi") });
    const stream = await azure.chat.completions.create({ model: "small", messages: ask("Hi"), stream: true });
    return { text: choices[0].message.content, streamed: await textOf(stream) };
  },
};

const cameTo = {};
for (const [name, hold] of Object.entries(conversations)) {
  try {
    cameTo[name] = await hold();
  } catch (error) {
    cameTo[name] = { failed: String(error.stack ?? error) };
  }
}
console.log(JSON.stringify(cameTo));
