// The official Anthropic SDK for Node, unmodified, against `/v1/messages`.

import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.env.LONGHAUL_URL, maxRetries: 0, timeout: 120_000 });
const messages = [{ role: "user", content: "Say hello." }];
const tool = { name: "get_weather", input_schema: { type: "object", properties: { location: { type: "string" } } } };

const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");

test("a whole answer", async () => {
  const answer = await client.messages.create({ model: "sim", max_tokens: 100, messages });
  assert.ok(answer.id.startsWith("msg_"));
  assert.ok(textOf(answer));
  assert.ok(answer._request_id);
});

test("every protocol streams and calls tools", async () => {
  for (const model of ["wire-anthropic", "wire-openai", "wire-responses", "wire-gemini"]) {
    const final = await client.messages.stream({ model, max_tokens: 100, messages }).finalMessage();
    assert.ok(textOf(final), model);
    const called = await client.messages.stream({ model, max_tokens: 100, messages, tools: [tool] }).finalMessage();
    assert.ok(called.content.some((block) => block.type === "tool_use"), model);
  }
});

test("errors have their classes", async () => {
  await assert.rejects(client.messages.create({ model: "smi", max_tokens: 10, messages }), Anthropic.NotFoundError);
  await assert.rejects(client.messages.create({ model: "throttled", max_tokens: 10, messages }), Anthropic.RateLimitError);
  await assert.rejects(client.messages.create({ model: "sim", max_tokens: 10, messages: [] }), Anthropic.BadRequestError);
});
