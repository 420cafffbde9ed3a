"""The official OpenAI SDK: chat completions, embeddings, models, errors."""

import json
import math
import unittest
from collections.abc import Iterable

import openai
import pydantic

from stage import URL, with_real_model

client = openai.OpenAI(base_url=f"{URL}/v1", max_retries=0, timeout=120)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}
HELLO = [{"role": "user", "content": "Say hello."}]
# The fixtures of each protocol, behind the same API.
WIRES = ["wire-openai", "wire-responses", "wire-anthropic", "wire-gemini"]


def joined(chunks: Iterable) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class Chat(unittest.TestCase):
    def test_a_whole_answer_has_text_usage_and_an_id_of_ours(self) -> None:
        answer = client.chat.completions.create(model="sim", messages=HELLO)
        self.assertTrue(answer.id.startswith("chatcmpl-"), answer.id)
        self.assertEqual(answer.object, "chat.completion")
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertTrue(answer._request_id)

    def test_a_stream_tells_one_id_and_its_usage_last(self) -> None:
        stream = client.chat.completions.create(
            model="sim", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertTrue(joined(chunks))
        self.assertEqual(chunks[-1].choices, [])
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)
        self.assertEqual([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1], "stop")

    def test_every_protocol_answers_whole_and_streamed_with_the_same_words(self) -> None:
        for model in WIRES:
            with self.subTest(model):
                whole = client.chat.completions.create(model=model, messages=HELLO)
                self.assertTrue(whole.choices[0].message.content)
                self.assertGreater(whole.usage.completion_tokens, 0)
                streamed = joined(client.chat.completions.create(model=model, messages=HELLO, stream=True))
                self.assertTrue(streamed)

    def test_every_protocol_calls_tools_whole_and_streamed(self) -> None:
        for model in WIRES:
            with self.subTest(model):
                answer = client.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER])
                calls = answer.choices[0].message.tool_calls
                self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
                self.assertTrue({"location", "city"} & set(json.loads(calls[0].function.arguments)))
                with client.chat.completions.stream(model=model, messages=HELLO, tools=[WEATHER]) as stream:
                    told = stream.get_final_completion().choices[0].message.tool_calls
                self.assertTrue({"location", "city"} & set(json.loads(told[0].function.arguments)))
                self.assertTrue(told[0].id)

    def test_a_tools_result_goes_back_and_is_answered(self) -> None:
        call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"location":"Paris"}'}}
        messages = HELLO + [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "22 degrees"},
        ]
        answer = client.chat.completions.create(model="sim", messages=messages, tools=[WEATHER])
        self.assertTrue(answer.choices[0].message.content or answer.choices[0].message.tool_calls)

    def test_what_happened_stands_in_headers(self) -> None:
        raw = client.chat.completions.with_raw_response.create(model="sim", messages=HELLO)
        self.assertEqual(raw.headers["longhaul-provider"], "sim")
        self.assertEqual(raw.headers["longhaul-cache"], "off")
        self.assertEqual(raw.headers["longhaul-attempts"], "1")

    def test_a_second_call_comes_from_the_cache_unless_a_fresh_one_is_wanted(self) -> None:
        ask = client.chat.completions.with_raw_response.create
        messages = [{"role": "user", "content": "What are the opening hours?"}]
        first, second = ask(model="cached", messages=messages), ask(model="cached", messages=messages)
        fresh = ask(model="cached", messages=messages, extra_headers={"cache-control": "no-cache"})
        self.assertEqual([raw.headers["longhaul-cache"] for raw in (first, second, fresh)], ["miss", "hit", "bypass"])
        text = [raw.parse().choices[0].message.content for raw in (first, second)]
        self.assertEqual(text[0], text[1])

    def test_a_degraded_answer_says_so(self) -> None:
        raw = client.chat.completions.with_raw_response.create(model="canned", messages=HELLO)
        self.assertEqual(raw.headers["longhaul-degraded"], "true")
        self.assertEqual(raw.parse().choices[0].message.content, "I am out of order.")

    def test_respond_async_makes_a_job(self) -> None:
        raw = client.chat.completions.with_raw_response.create(
            model="sim", messages=HELLO, extra_headers={"prefer": "respond-async"}
        )
        self.assertEqual(raw.http_response.status_code, 202)
        receipt = json.loads(raw.http_response.content)
        job = client.get(f"{URL}/v1/jobs/{receipt['job_id']}?wait=20", cast_to=object)
        self.assertEqual(job["status"], "succeeded", job)
        self.assertEqual(job["output"]["object"], "chat.completion")
        self.assertGreater(job["usage"]["output_tokens"], 0)


class Errors(unittest.TestCase):
    def test_an_unknown_model_is_404_in_openais_shape(self) -> None:
        with self.assertRaises(openai.NotFoundError) as raised:
            client.chat.completions.create(model="smi", messages=HELLO)
        error = raised.exception
        self.assertEqual(error.code, "model_not_found")
        self.assertIn("sim", error.message)
        self.assertEqual(set(error.body), {"message", "type", "param", "code"})
        self.assertTrue(error.request_id)

    def test_a_bad_field_is_named(self) -> None:
        with self.assertRaises(openai.BadRequestError) as raised:
            client.chat.completions.create(model="sim", messages=[{"role": "nobody", "content": "x"}])
        self.assertIn("messages[0]", raised.exception.param)

    def test_a_failing_upstream_is_an_error_of_the_server_that_is_not_retried(self) -> None:
        with self.assertRaises(openai.InternalServerError) as raised:
            client.chat.completions.create(model="broken", messages=HELLO)
        self.assertEqual(raised.exception.response.headers["x-should-retry"], "false")

    def test_a_throttling_upstream_says_when_to_come_again(self) -> None:
        with self.assertRaises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="throttled", messages=HELLO)
        headers = raised.exception.response.headers
        self.assertGreater(int(headers["retry-after"]), 0)
        self.assertGreater(int(headers["retry-after-ms"]), 0)

    def test_a_stream_that_is_cut_ends_with_an_error(self) -> None:
        with self.assertRaises(openai.APIError):
            for _ in client.chat.completions.create(model="cut", messages=HELLO, stream=True):
                pass


class Embeddings(unittest.TestCase):
    def test_vectors_are_the_same_in_both_encodings(self) -> None:
        # The SDK asks for base64 unless told otherwise.
        packed = client.embeddings.create(model="local", input=["a dog", "a cat"])
        plain = client.embeddings.create(model="local", input=["a dog", "a cat"], encoding_format="float")
        self.assertEqual(len(packed.data), 2)
        for one, other in zip(packed.data, plain.data):
            self.assertEqual(one.index, other.index)
            self.assertTrue(all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(one.embedding, other.embedding)))

    def test_respond_async_makes_a_job(self) -> None:
        raw = client.embeddings.with_raw_response.create(model="local", input="a dog", extra_headers={"prefer": "respond-async"})
        self.assertEqual(raw.http_response.status_code, 202)
        job = client.get(f"{URL}/v1/jobs/{json.loads(raw.http_response.content)['job_id']}?wait=20", cast_to=object)
        self.assertEqual((job["status"], job["output"]["object"]), ("succeeded", "list"))


class Models(unittest.TestCase):
    def test_models_are_listed_and_shown(self) -> None:
        names = [model.id for model in client.models.list()]
        self.assertIn("sim", names)
        self.assertIn("local", names)
        self.assertEqual(client.models.retrieve("sim").object, "model")
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("none-such")


class Capital(pydantic.BaseModel):
    city: str


@with_real_model
class Real(unittest.TestCase):
    """A real model answers, so that nothing here is an echo of what the tests put in."""

    def test_it_chats_streams_and_counts(self) -> None:
        messages = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
        stream = client.chat.completions.create(
            model="smol", messages=messages, max_tokens=16, temperature=0, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        self.assertIn("France", joined(chunks))
        self.assertGreater(chunks[-1].usage.completion_tokens, 3)

    def test_its_answer_fits_a_schema(self) -> None:
        answer = client.chat.completions.parse(
            model="smol", messages=[{"role": "user", "content": "Paris is a city. Name it."}],
            response_format=Capital, max_tokens=24, temperature=0,
        )
        self.assertIsInstance(answer.choices[0].message.parsed, Capital)

    def test_it_embeds(self) -> None:
        vectors = client.embeddings.create(model="smol-embeddings", input=["a dog", "a puppy"]).data
        self.assertEqual(len(vectors[0].embedding), len(vectors[1].embedding))
        self.assertGreater(len(vectors[0].embedding), 100)


if __name__ == "__main__":
    unittest.main()
