"""Drives a running server with the openai package: chat and completions, streaming and not, errors.

    python session.py http://127.0.0.1:8080/v1 [--api-key KEY] [--requests 64]
"""

import argparse
import asyncio

import openai

MAX_TOKENS = 12
GREEDY = {"max_tokens": MAX_TOKENS, "temperature": 0}
TALK = [
    {"role": "system", "content": "Answer in a word."},
    {"role": "user", "content": [{"type": "text", "text": "What colour is the sky?"}]},
]


def chat(client, model):
    """A chat whole and streamed: the same text, the same usage."""
    whole = client.chat.completions.create(model=model, messages=TALK, **GREEDY)
    assert whole.object == "chat.completion" and whole.model == model
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert 0 < whole.usage.completion_tokens <= MAX_TOKENS
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    stream = client.chat.completions.create(
        model=model,
        messages=TALK,
        stream=True,
        stream_options={"include_usage": True},
        **GREEDY,
    )
    chunks = list(stream)
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert choices[0].delta.role == "assistant"
    assert "".join(c.delta.content or "" for c in choices) == choice.message.content
    assert choices[-1].finish_reason == choice.finish_reason
    assert chunks[-1].usage == whole.usage
    # The package's own reading of a stream.
    with client.chat.completions.stream(model=model, messages=TALK, **GREEDY) as events:
        for _ in events:
            pass
        # get_final_completion would raise where the length is at its limit.
        final = events.current_completion_snapshot
    assert final.choices[0].message.content == choice.message.content


def completion(client, model):
    """A completion whole, streamed, and of tokens."""
    prompt = "Once upon a time"
    whole = client.completions.create(model=model, prompt=prompt, **GREEDY)
    stream = client.completions.create(model=model, prompt=prompt, stream=True, **GREEDY)
    chunks = list(stream)
    assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    by_token = client.completions.create(model=model, prompt=[65, 66, 67], **GREEDY)
    assert by_token.usage.prompt_tokens == 3
    unending = client.completions.create(
        model=model, prompt=prompt, extra_body={"ignore_eos": True}, **GREEDY
    )
    assert unending.usage.completion_tokens == MAX_TOKENS
    assert unending.choices[0].finish_reason == "length"


def options(client, model):
    """Probabilities, stop, seed, and what is ours."""
    scored = client.chat.completions.create(
        model=model, messages=TALK, logprobs=True, top_logprobs=3, **GREEDY
    )
    tokens = scored.choices[0].logprobs.content
    assert len(tokens) == scored.usage.completion_tokens
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)
    scored = client.completions.create(model=model, prompt="one two", logprobs=2, **GREEDY)
    columns = scored.choices[0].logprobs
    assert len(columns.tokens) == len(columns.token_logprobs) == len(columns.text_offset)
    client.completions.create(model=model, prompt="one two", stop=["\n", "two"], **GREEDY)
    ours = {"priority": 5, "deadline_ms": 60000, "ttft_deadline_ms": 30000, "top_k": 5}
    request = {"model": model, "messages": TALK, "max_tokens": MAX_TOKENS, "seed": 7, "user": "me"}
    drawn = [client.chat.completions.create(extra_body=ours, **request) for _ in range(2)]
    assert drawn[0].choices[0].message.content == drawn[1].choices[0].message.content
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=TALK, extra_headers={"x-request-id": "session-1"}, **GREEDY
    )
    assert raw.headers["x-request-id"] == "session-1"


def errors(client, model, keyed):
    """Each error is the exception that the package has for it."""

    def fails(kind, call, code):
        try:
            call()
        except kind as error:
            assert error.code == code, f"{error.code} instead of {code}"
            assert error.message and error.request_id
        else:
            raise AssertionError(f"no {kind.__name__}")

    ask = client.chat.completions.create
    bad, missing = openai.BadRequestError, openai.NotFoundError
    fails(missing, lambda: ask(model="no-such-model", messages=TALK), "model_not_found")
    fails(missing, lambda: client.models.retrieve("no-such-model"), "model_not_found")
    unsupported = "unsupported_parameter"
    fails(bad, lambda: ask(model=model, messages=TALK, n=2), unsupported)
    fails(bad, lambda: ask(model=model, messages=TALK, presence_penalty=1), unsupported)
    fails(bad, lambda: ask(model=model, messages=TALK, temperature=9), None)
    fails(bad, lambda: ask(model=model, messages=[]), None)
    huge = {"model": model, "messages": TALK, "max_tokens": 10**9}
    fails(bad, lambda: ask(**huge), "context_length_exceeded")
    embed = client.embeddings.create
    fails(bad, lambda: embed(model=model, input="a"), "unsupported_endpoint")
    if keyed:
        stranger = client.with_options(api_key="no such key")
        refused = openai.AuthenticationError
        fails(refused, lambda: list(stranger.models.list()), "invalid_api_key")


async def at_once(access, model, requests):
    """Many streams at the same time."""
    async with openai.AsyncOpenAI(**access) as client:

        async def one(number):
            messages = [{"role": "user", "content": f"Count to {number}."}]
            stream = await client.chat.completions.create(
                model=model, messages=messages, stream=True, **GREEDY
            )
            ends = [c.choices[0].finish_reason async for c in stream if c.choices]
            assert ends[-1] in ("stop", "length") and not any(ends[:-1])

        await asyncio.gather(*(one(number) for number in range(requests)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="of the server, with /v1")
    parser.add_argument("--api-key", help="where the server wants one")
    parser.add_argument("--requests", type=int, default=64, help="how many streams at once")
    args = parser.parse_args()
    access = {"base_url": args.url, "api_key": args.api_key or "none", "max_retries": 0}
    client = openai.OpenAI(**access)
    model = client.models.list().data[0].id
    assert client.models.retrieve(model).id == model
    chat(client, model)
    completion(client, model)
    options(client, model)
    errors(client, model, keyed=args.api_key is not None)
    asyncio.run(at_once(access, model, args.requests))
    print(f"openai {openai.__version__}: chat, completions, options, errors and")
    print(f"    {args.requests} streams at once are well")


if __name__ == "__main__":
    main()
