// The official OpenAI SDK for Node, unmodified.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, test } from "node:test";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const URL = process.env.LONGHAUL_URL;
const client = new OpenAI({ baseURL: `${URL}/v1`, maxRetries: 0, timeout: 120_000 });
// As a program has it: the SDK's own two retries carry it over a restart.
const patient = new OpenAI({ baseURL: `${URL}/v1`, timeout: 120_000 });

const hello = [{ role: "user", content: "Say hello." }];
const wires = ["wire-openai", "wire-responses", "wire-anthropic", "wire-gemini"];
const weather = {
  type: "function",
  function: { name: "get_weather", parameters: { type: "object", properties: { location: { type: "string" } } } },
};

async function killAndStartAgain() {
  const reply = await fetch(`${process.env.CONTROL_URL}/kill`, { method: "POST" });
  assert.equal(reply.status, 204);
}

async function ended(id, within = 60_000) {
  const deadline = Date.now() + within;
  for (;;) {
    const response = await patient.responses.retrieve(id);
    if (!["queued", "in_progress"].includes(response.status)) return response;
    assert.ok(Date.now() < deadline, `${id} is still ${response.status}`);
    await sleep(200);
  }
}

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

describe("chat completions", () => {
  test("a whole answer and a stream", async () => {
    const whole = await client.chat.completions.create({ model: "sim", messages: hello });
    assert.ok(whole.id.startsWith("chatcmpl-"));
    assert.ok(whole.choices[0].message.content);
    assert.ok(whole._request_id);
    const stream = await client.chat.completions.create({
      model: "sim", messages: hello, stream: true, stream_options: { include_usage: true },
    });
    const chunks = await collect(stream);
    assert.ok(chunks.at(-1).usage.completion_tokens > 0);
  });

  test("every protocol answers and calls tools", async () => {
    for (const model of wires) {
      const text = await client.chat.completions.stream({ model, messages: hello }).finalContent();
      assert.ok(text, model);
      const answer = await client.chat.completions.stream({ model, messages: hello, tools: [weather] }).finalChatCompletion();
      assert.ok(answer.choices[0].message.tool_calls[0].function.arguments.length > 2, model);
    }
  });

  test("errors have their classes and say what is wrong", async () => {
    await assert.rejects(client.chat.completions.create({ model: "smi", messages: hello }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, "model_not_found");
      assert.ok(error.requestID);
      return true;
    });
    await assert.rejects(client.chat.completions.create({ model: "throttled", messages: hello }), OpenAI.RateLimitError);
    await assert.rejects(collect(await client.chat.completions.create({ model: "cut", messages: hello, stream: true })), OpenAI.APIError);
  });
});

test("embeddings are the same in both encodings", async () => {
  const ask = { model: "local", input: ["a dog", "a cat"] };
  const packed = await client.embeddings.create(ask);
  const plain = await client.embeddings.create({ ...ask, encoding_format: "float" });
  for (const [index, one] of packed.data.entries()) {
    assert.ok(one.embedding.every((number, at) => Math.abs(number - plain.data[index].embedding[at]) < 1e-6));
  }
});

test("models are listed", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("sim"));
});

describe("responses", () => {
  test("at once, kept, deleted", async () => {
    const response = await client.responses.create({ model: "sim", input: "Say hello." });
    assert.ok(response.output_text);
    assert.equal((await client.responses.retrieve(response.id)).output_text, response.output_text);
    const items = await client.responses.inputItems.list(response.id);
    assert.equal(items.data[0].content[0].text, "Say hello.");
    await client.responses.delete(response.id);
    await assert.rejects(client.responses.retrieve(response.id), OpenAI.NotFoundError);
  });

  test("every protocol streams", async () => {
    for (const model of wires) {
      const final = await client.responses.stream({ model, input: "Say hello." }).finalResponse();
      assert.ok(final.output_text, model);
    }
  });

  test("in the background, over the death of the server", async () => {
    const response = await patient.responses.create({ model: "slower", input: "Write a long story.", background: true });
    await sleep(1000);
    await killAndStartAgain();
    const done = await ended(response.id);
    assert.deepEqual([done.id, done.status], [response.id, "completed"]);
  });

  test("a stream that was left is read again, the same from every event on", async () => {
    const seen = [];
    const stream = await client.responses.create({ model: "slower", input: "Count.", background: true, stream: true });
    try {
      for await (const event of stream) {
        seen.push(event);
        if (seen.filter((event) => event.type === "response.output_text.delta").length === 8) await killAndStartAgain();
      }
    } catch {
      // The connection broke; what was told stays.
    }
    const id = seen[0].response.id;
    const whole = await collect(await client.responses.retrieve(id, { stream: true }));
    assert.deepEqual(whole.slice(0, seen.length), seen);
    assert.equal(whole.at(-1).type, "response.completed");
    for (let after = 0; after < whole.length; after += 5) {
      const rest = await collect(await client.responses.retrieve(id, { stream: true, starting_after: after }));
      assert.deepEqual(rest, whole.slice(after + 1));
    }
  });

  test("cancel takes effect within a second", async () => {
    const response = await client.responses.create({ model: "slower", input: "Take your time.", background: true });
    await sleep(300);
    const begin = Date.now();
    assert.equal((await client.responses.cancel(response.id)).status, "cancelled");
    assert.ok(Date.now() - begin < 1000);
  });
});

describe("a real model", { skip: process.env.REAL_MODEL ? false : "the real model is left out" }, () => {
  test("answers in the form of a schema", async () => {
    const answer = await client.chat.completions.parse({
      model: "smol", messages: [{ role: "user", content: "Paris is a city. Name it." }], max_tokens: 24, temperature: 0,
      response_format: zodResponseFormat(z.object({ city: z.string() }), "capital"),
    });
    assert.equal(typeof answer.choices[0].message.parsed.city, "string");
  });
});
