"""The official Anthropic SDK against `/v1/messages`, whatever stands behind the model."""

import unittest

import anthropic

from stage import URL, with_real_model

client = anthropic.Anthropic(base_url=URL, max_retries=0, timeout=120)

HELLO = [{"role": "user", "content": "Say hello."}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a place",
    "input_schema": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
WIRES = ["wire-anthropic", "wire-openai", "wire-responses", "wire-gemini"]


class Messages(unittest.TestCase):
    def test_a_whole_answer_has_text_and_usage(self) -> None:
        answer = client.messages.create(model="sim", max_tokens=100, messages=HELLO)
        self.assertTrue(answer.id.startswith("msg_"))
        self.assertEqual((answer.type, answer.role, answer.stop_reason), ("message", "assistant", "end_turn"))
        self.assertTrue(answer.content[0].text)
        self.assertGreater(answer.usage.output_tokens, 0)
        self.assertTrue(answer._request_id)

    def test_every_protocol_answers_whole_and_streamed(self) -> None:
        for model in WIRES:
            with self.subTest(model):
                whole = client.messages.create(model=model, max_tokens=100, messages=HELLO)
                self.assertTrue("".join(block.text for block in whole.content if block.type == "text"))
                with client.messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
                    text = "".join(stream.text_stream)
                    final = stream.get_final_message()
                self.assertTrue(text)
                self.assertEqual(text, "".join(block.text for block in final.content if block.type == "text"))
                self.assertIn(final.stop_reason, {"end_turn", "tool_use", "stop_sequence"})

    def test_every_protocol_calls_tools(self) -> None:
        for model in WIRES:
            with self.subTest(model):
                whole = client.messages.create(model=model, max_tokens=100, messages=HELLO, tools=[WEATHER])
                uses = [block for block in whole.content if block.type == "tool_use"]
                self.assertTrue({"location", "city"} & set(uses[0].input))
                self.assertEqual(whole.stop_reason, "tool_use")
                with client.messages.stream(model=model, max_tokens=100, messages=HELLO, tools=[WEATHER]) as stream:
                    final = stream.get_final_message()
                self.assertTrue({"location", "city"} & set([block for block in final.content if block.type == "tool_use"][0].input))

    def test_a_tools_result_goes_back(self) -> None:
        messages = HELLO + [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"location": "Paris"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "22 degrees"}]},
        ]
        self.assertTrue(client.messages.create(model="sim", max_tokens=100, messages=messages, tools=[WEATHER]).content)


class Errors(unittest.TestCase):
    def test_an_unknown_model_is_404_in_anthropics_shape(self) -> None:
        with self.assertRaises(anthropic.NotFoundError) as raised:
            client.messages.create(model="smi", max_tokens=10, messages=HELLO)
        self.assertEqual(raised.exception.body["type"], "error")
        self.assertEqual(raised.exception.body["error"]["type"], "not_found_error")

    def test_a_bad_field_is_named(self) -> None:
        with self.assertRaises(anthropic.BadRequestError) as raised:
            client.messages.create(model="sim", max_tokens=10, messages=[{"role": "nobody", "content": "x"}])
        self.assertIn("messages[0]", raised.exception.message)

    def test_a_throttling_upstream_says_when_to_come_again(self) -> None:
        with self.assertRaises(anthropic.RateLimitError) as raised:
            client.messages.create(model="throttled", max_tokens=10, messages=HELLO)
        self.assertGreater(int(raised.exception.response.headers["retry-after"]), 0)

    def test_a_stream_that_is_cut_ends_with_an_error(self) -> None:
        with self.assertRaises(anthropic.APIError):
            with client.messages.stream(model="cut", max_tokens=100, messages=HELLO) as stream:
                stream.until_done()


@with_real_model
class Real(unittest.TestCase):
    def test_it_answers_behind_both_protocols(self) -> None:
        for model in ["smol", "smol-anthropic"]:
            with self.subTest(model):
                with client.messages.stream(
                    model=model, max_tokens=12, messages=[{"role": "user", "content": "What is the capital of France?"}]
                ) as stream:
                    self.assertTrue("".join(stream.text_stream))


if __name__ == "__main__":
    unittest.main()
