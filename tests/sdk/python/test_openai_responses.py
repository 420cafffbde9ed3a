"""The official OpenAI SDK: responses, at once, streamed and in the background, over the death of the server."""

import json
import time
import unittest

import openai
import pydantic

from stage import URL, kill_and_start_again, with_real_model

client = openai.OpenAI(base_url=f"{URL}/v1", max_retries=0, timeout=120)
# As a program has it: the SDK's own two retries carry it over a restart.
patient = openai.OpenAI(base_url=f"{URL}/v1", timeout=120)

ENDED = {"completed", "failed", "cancelled", "incomplete"}


def ended(response_id: str, within: float = 60):
    """Polls as the guide says."""
    deadline = time.monotonic() + within
    while True:
        response = patient.responses.retrieve(response_id)
        if response.status in ENDED:
            return response
        assert time.monotonic() < deadline, f"{response_id} is still {response.status}"
        time.sleep(0.2)


def lines(events) -> list[str]:
    return [event.to_json(indent=None) for event in events]


class Sync(unittest.TestCase):
    def test_a_whole_answer_is_kept_and_can_be_read_and_deleted(self) -> None:
        response = client.responses.create(model="sim", input="Say hello.", metadata={"a": "b"})
        self.assertTrue(response.id.startswith("resp_"))
        self.assertEqual(response.status, "completed")
        self.assertTrue(response.output_text)
        self.assertGreater(response.usage.output_tokens, 0)
        self.assertEqual(response.metadata, {"a": "b"})
        again = client.responses.retrieve(response.id)
        self.assertEqual(again.to_dict(), response.to_dict())
        items = list(client.responses.input_items.list(response.id))
        self.assertEqual(items[0].content[0].text, "Say hello.")
        client.responses.delete(response.id)
        with self.assertRaises(openai.NotFoundError):
            client.responses.retrieve(response.id)

    def test_what_is_not_to_be_stored_is_not(self) -> None:
        response = client.responses.create(model="sim", input="Say hello.", store=False)
        with self.assertRaises(openai.NotFoundError):
            client.responses.retrieve(response.id)

    def test_a_stream_has_the_events_in_their_order(self) -> None:
        events = list(client.responses.create(model="sim", input="Say hello.", stream=True))
        kinds = [event.type for event in events]
        self.assertEqual(kinds[:2], ["response.created", "response.in_progress"])
        self.assertEqual(kinds[2:4], ["response.output_item.added", "response.content_part.added"])
        self.assertEqual(kinds[-1], "response.completed")
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(text, events[-1].response.output_text)
        self.assertEqual(client.responses.retrieve(events[-1].response.id).output_text, text)

    def test_every_protocol_answers(self) -> None:
        for model in ["wire-openai", "wire-responses", "wire-anthropic", "wire-gemini"]:
            with self.subTest(model):
                self.assertTrue(client.responses.create(model=model, input="Say hello.").output_text)
                with client.responses.stream(model=model, input="Say hello.") as stream:
                    self.assertTrue(stream.get_final_response().output_text)

    def test_tools_are_called(self) -> None:
        tool = {"type": "function", "name": "get_weather", "strict": False,
                "parameters": {"type": "object", "properties": {"location": {"type": "string"}}}}
        for model in ["wire-openai", "wire-responses", "wire-anthropic", "wire-gemini"]:
            with self.subTest(model):
                response = client.responses.create(model=model, input="Weather?", tools=[tool])
                calls = [item for item in response.output if item.type == "function_call"]
                self.assertTrue({"location", "city"} & set(json.loads(calls[0].arguments)))

    def test_a_conversation_goes_on_from_an_earlier_response(self) -> None:
        first = client.responses.create(model="sim", input="My name is Ada.")
        second = client.responses.create(model="sim", input="What is my name?", previous_response_id=first.id)
        self.assertEqual(second.previous_response_id, first.id)
        self.assertGreater(second.usage.input_tokens, first.usage.input_tokens)
        with self.assertRaises(openai.BadRequestError) as raised:
            client.responses.create(model="sim", input="And?", previous_response_id="resp_" + "0" * 32)
        self.assertEqual(raised.exception.code, "previous_response_not_found")


class Background(unittest.TestCase):
    def test_it_is_polled_until_it_is_there(self) -> None:
        response = client.responses.create(model="slow", input="Take your time.", background=True)
        self.assertIn(response.status, {"queued", "in_progress"})
        self.assertTrue(response.background)
        done = ended(response.id)
        self.assertEqual(done.status, "completed")
        self.assertTrue(done.output_text)

    def test_cancel_takes_effect_within_a_second_and_stays(self) -> None:
        response = client.responses.create(model="slower", input="Take your time.", background=True)
        time.sleep(0.5)
        begin = time.monotonic()
        cancelled = client.responses.cancel(response.id)
        self.assertEqual(cancelled.status, "cancelled")
        self.assertLess(time.monotonic() - begin, 1)
        self.assertEqual(client.responses.cancel(response.id).status, "cancelled")
        self.assertEqual(client.responses.retrieve(response.id).status, "cancelled")

    def test_only_background_responses_are_cancelled(self) -> None:
        response = client.responses.create(model="sim", input="Say hello.")
        with self.assertRaises(openai.BadRequestError):
            client.responses.cancel(response.id)

    def test_a_stream_can_be_left_and_read_again_from_anywhere(self) -> None:
        stream = client.responses.create(model="slow", input="Count.", background=True, stream=True)
        seen = []
        for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
        stream.close()
        response_id = seen[0].response.id
        whole = list(client.responses.retrieve(response_id, stream=True))
        self.assertEqual(lines(whole[: len(seen)]), lines(seen))
        self.assertEqual(whole[-1].type, "response.completed")
        self.assertEqual([event.sequence_number for event in whole], list(range(len(whole))))
        for after in range(0, len(whole), 3):
            rest = list(client.responses.retrieve(response_id, stream=True, starting_after=after))
            self.assertEqual(lines(rest), lines(whole[after + 1 :]))

    def test_a_response_that_was_not_streamed_cannot_be(self) -> None:
        response = client.responses.create(model="sim", input="Say hello.", background=True)
        with self.assertRaises(openai.BadRequestError):
            client.responses.retrieve(response.id, stream=True)

    def test_a_failing_upstream_ends_as_failed_with_its_reason(self) -> None:
        response = client.responses.create(model="broken", input="Say hello.", background=True)
        done = ended(response.id)
        self.assertEqual(done.status, "failed")
        self.assertEqual(done.error.code, "server_error")
        self.assertTrue(done.error.message)


class OverTheServersDeath(unittest.TestCase):
    def test_the_same_id_completes(self) -> None:
        """The program that everybody has, with another base_url."""
        response = patient.responses.create(model="slower", input="Write a long story.", background=True)
        time.sleep(1.0)
        kill_and_start_again()
        done = ended(response.id)
        self.assertEqual((done.id, done.status), (response.id, "completed"))
        self.assertTrue(done.output_text)

    def interrupted(self, model: str) -> tuple[list, str]:
        """Reads a background stream until text has come, kills the server there; gives what was read, and the id."""
        seen = []
        stream = client.responses.create(model=model, input="Count.", background=True, stream=True)
        texts = 0
        try:
            for event in stream:
                seen.append(event)
                texts += event.type == "response.output_text.delta"
                if texts == 8:
                    kill_and_start_again()
        except Exception:  # noqa: BLE001 - the connection broke, in whatever way the SDK tells it
            pass
        self.assertGreaterEqual(texts, 8)
        return seen, seen[0].response.id

    def assert_resumes_everywhere(self, seen: list, response_id: str) -> list:
        whole = list(client.responses.retrieve(response_id, stream=True))
        self.assertEqual(lines(whole[: len(seen)]), lines(seen), "what was told before stays as it was")
        self.assertEqual([event.sequence_number for event in whole], list(range(len(whole))))
        for after in range(len(whole)):
            rest = list(client.responses.retrieve(response_id, stream=True, starting_after=after))
            self.assertEqual(lines(rest), lines(whole[after + 1 :]), f"after {after}")
        return whole

    def test_restart_closes_the_open_item_and_writes_another(self) -> None:
        seen, response_id = self.interrupted("slower")
        whole = self.assert_resumes_everywhere(seen, response_id)
        self.assertEqual(whole[-1].type, "response.completed")
        ends = [event.item.status for event in whole if event.type == "response.output_item.done"]
        self.assertEqual(ends, ["incomplete", "completed"])
        final = whole[-1].response
        self.assertEqual([item.status for item in final.output], ["completed"])
        self.assertEqual(client.responses.retrieve(response_id).output_text, final.output_text)

    def test_fail_ends_the_response(self) -> None:
        seen, response_id = self.interrupted("slower-fail")
        whole = self.assert_resumes_everywhere(seen, response_id)
        self.assertEqual(whole[-1].type, "response.failed")
        self.assertEqual(client.responses.retrieve(response_id).status, "failed")

    def test_continue_goes_on_from_what_was_told(self) -> None:
        seen, response_id = self.interrupted("slower-continue")
        whole = self.assert_resumes_everywhere(seen, response_id)
        self.assertEqual(whole[-1].type, "response.completed")
        told = "".join(event.delta for event in whole if event.type == "response.output_text.delta")
        self.assertEqual(whole[-1].response.output_text, told)
        self.assertTrue(told.startswith("".join(event.delta for event in seen if event.type == "response.output_text.delta")))

    def test_a_create_whose_answer_was_lost_is_not_made_twice(self) -> None:
        """The SDK sends no key of its own, but counts its retries."""
        body = {"model": "slow", "input": f"Once, at {time.time()}.", "background": True}
        first = client.responses.create(**body)
        retried = client.responses.create(**body, extra_headers={"x-stainless-retry-count": "1"})
        self.assertEqual(retried.id, first.id)
        kill_and_start_again()
        after = client.responses.create(**body, extra_headers={"x-stainless-retry-count": "2"})
        self.assertEqual(after.id, first.id)
        another = client.responses.create(**body)
        self.assertNotEqual(another.id, first.id, "a call that is no retry is another call")


class Capital(pydantic.BaseModel):
    city: str


@with_real_model
class Real(unittest.TestCase):
    def test_it_answers_at_once_streamed_and_in_the_background(self) -> None:
        ask = {"model": "smol", "input": "What is the capital of France?", "max_output_tokens": 16, "temperature": 0}
        whole = client.responses.create(**ask)
        self.assertTrue(whole.output_text)
        # Cut short by its limit, it ends as incomplete, which the SDK's helper does not take for an end.
        last = list(client.responses.create(**ask, stream=True))[-1]
        self.assertIn(last.type, {"response.completed", "response.incomplete"})
        self.assertTrue(last.response.output_text)
        done = ended(client.responses.create(**ask, background=True).id, within=120)
        self.assertTrue(done.output_text)

    def test_its_answer_fits_a_schema(self) -> None:
        parsed = client.responses.parse(
            model="smol", input="Paris is a city. Name it.", text_format=Capital, max_output_tokens=24, temperature=0
        )
        self.assertIsInstance(parsed.output_parsed, Capital)

    def test_it_survives_the_server(self) -> None:
        response = patient.responses.create(
            model="smol", input="Write about the sea.", max_output_tokens=32, background=True
        )
        time.sleep(0.5)
        kill_and_start_again()
        done = ended(response.id, within=120)
        self.assertIn(done.status, {"completed", "incomplete"})
        self.assertTrue(done.output_text)


if __name__ == "__main__":
    unittest.main()
