"""What PyPI's openai and anthropic make of a server's answers.

    http_clients.py openai|anthropic BASE_URL KEY

Writes one object of JSON with what each call gave.
"""

import json
import sys

which, base, key = sys.argv[1:]
results = {}

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
CITIES = {"Berlin": "Sunny", "Rome": "Rainy"}


def weather_chat():
    """A conversation in which the tool was called twice, so that a small model calls it again."""
    messages = []
    for number, (city, sky) in enumerate(CITIES.items()):
        function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        messages += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": f"c{number}", "content": sky},
            {"role": "assistant", "content": f"{sky} in {city}."},
        ]
    return messages + [{"role": "user", "content": "What is the weather in Paris?"}]


def weather_items():
    items = []
    for number, (city, sky) in enumerate(CITIES.items()):
        call = {"type": "function_call", "call_id": f"c{number}", "name": "get_weather", "arguments": json.dumps({"city": city})}
        items += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            call,
            {"type": "function_call_output", "call_id": f"c{number}", "output": sky},
            {"role": "assistant", "content": f"{sky} in {city}."},
        ]
    return items + [{"role": "user", "content": "What is the weather in Paris?"}]


def weather_messages():
    messages = []
    for number, (city, sky) in enumerate(CITIES.items()):
        messages += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": f"c{number}", "name": "get_weather", "input": {"city": city}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"c{number}", "content": sky}]},
            {"role": "assistant", "content": f"{sky} in {city}."},
        ]
    return messages + [{"role": "user", "content": "What is the weather in Paris?"}]


def openai_calls():
    import openai

    client = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
    model = client.models.list().data[0].id
    results["model"] = model
    chat = client.chat.completions

    answer = chat.create(model=model, messages=QUESTION, max_tokens=20, seed=1, logprobs=True, top_logprobs=2)
    results["chat"] = answer.choices[0].message.content
    results["finish_reason"] = answer.choices[0].finish_reason
    results["usage"] = answer.usage.model_dump()
    results["logprobs"] = [[entry.token, entry.logprob, len(entry.top_logprobs)] for entry in answer.choices[0].logprobs.content]

    chunks = list(chat.create(model=model, messages=QUESTION, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    results["stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    results["stream_usage"] = chunks[-1].usage.model_dump()

    with chat.stream(model=model, messages=QUESTION, max_tokens=20) as stream:
        results["stream_helper"] = stream.get_final_completion().choices[0].message.content

    results["stop"] = chat.create(model=model, messages=QUESTION, max_tokens=20, stop=[" Paris"]).choices[0].message.content
    results["length"] = chat.create(model=model, messages=QUESTION, max_tokens=2).choices[0].finish_reason

    weather = weather_chat()
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = chat.create(model=model, messages=weather, max_tokens=40, tools=[TOOL], tool_choice=named)
    message = answer.choices[0].message
    calls = message.tool_calls or []
    results["tool_calls"] = [[call.function.name, json.loads(call.function.arguments)] for call in calls]
    results["tool_finish"] = answer.choices[0].finish_reason

    with chat.stream(model=model, messages=weather, max_tokens=40, tools=[TOOL], tool_choice=named) as stream:
        calls = stream.get_final_completion().choices[0].message.tool_calls or []
        results["tool_stream"] = [[call.function.name, json.loads(call.function.arguments)] for call in calls]

    turn = weather + [message.to_dict()]
    turn += [{"role": "tool", "tool_call_id": call.id, "content": "Sunny, 20 degrees"} for call in message.tool_calls or []]
    results["tool_turn"] = chat.create(model=model, messages=turn, max_tokens=20, tools=[TOOL]).choices[0].message.content

    response_format = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    answer = chat.create(
        model=model, messages=[{"role": "user", "content": "Invent a person."}], max_tokens=100, response_format=response_format
    )
    results["response_format"] = json.loads(answer.choices[0].message.content)

    results["completion"] = client.completions.create(model=model, prompt="The capital of France is", max_tokens=5).choices[0].text
    pieces = client.completions.create(model=model, prompt="The capital of France is", max_tokens=5, stream=True)
    results["completion_stream"] = "".join(piece.choices[0].text for piece in pieces)

    answer = client.responses.create(model=model, input="What is the capital of France?", max_output_tokens=20)
    results["response"] = answer.output_text
    results["response_status"] = answer.status
    results["response_usage"] = answer.usage.model_dump()
    with client.responses.stream(model=model, input="What is the capital of France?", max_output_tokens=20) as stream:
        results["response_stream_types"] = sorted({event.type for event in stream})
        results["response_stream"] = stream.get_final_response().output_text

    tool = {"type": "function", "strict": False, **TOOL["function"]}
    forced = {"type": "function", "name": "get_weather"}
    answer = client.responses.create(
        model=model, input=weather_items(), max_output_tokens=40, tools=[tool], tool_choice=forced
    )
    results["response_calls"] = [[item.name, json.loads(item.arguments)] for item in answer.output if item.type == "function_call"]
    with client.responses.stream(
        model=model, input=weather_items(), max_output_tokens=40, tools=[tool], tool_choice=forced
    ) as stream:
        output = stream.get_final_response().output
        results["response_stream_calls"] = [[item.name, json.loads(item.arguments)] for item in output if item.type == "function_call"]

    texts = ["The cat sits outside", "A cat is in the garden"]
    embeddings = client.embeddings.create(model="embedder", input=texts)
    results["embeddings"] = [entry.embedding for entry in embeddings.data]
    results["embeddings_float"] = [e.embedding for e in client.embeddings.create(model="embedder", input=texts, encoding_format="float").data]
    results["embedding_tokens"] = embeddings.usage.prompt_tokens

    for name, call in {
        "unknown_model": lambda: chat.create(model="nothing", messages=QUESTION),
        "unknown_field": lambda: chat.create(model=model, messages=QUESTION, extra_body={"temprature": 1}),
        "wrong_key": lambda: openai.OpenAI(base_url=base + "/v1", api_key="wrong", max_retries=0).models.list(),
        "too_long": lambda: chat.create(model=model, messages=[{"role": "user", "content": "word " * 20000}]),
    }.items():
        try:
            call()
            results[name] = None
        except openai.APIStatusError as error:
            results[name] = [type(error).__name__, error.code, error.param]


def used(usage):
    """The tokens of the prompt, with those that were in the cache, and of the answer."""
    return [usage.input_tokens + usage.cache_read_input_tokens, usage.output_tokens]


def anthropic_calls():
    import anthropic

    client = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
    model = client.models.list().data[0].id
    create = client.messages.create

    answer = create(model=model, max_tokens=20, messages=QUESTION, system="You are a helpful AI assistant named SmolLM, trained by Hugging Face")
    results["text"] = answer.content[0].text
    results["stop_reason"] = answer.stop_reason
    results["usage"] = used(answer.usage)

    with client.messages.stream(model=model, max_tokens=20, messages=QUESTION) as stream:
        results["stream"] = "".join(stream.text_stream)
        message = stream.get_final_message()
        results["stream_stop_reason"] = message.stop_reason
        results["stream_usage"] = used(message.usage)

    answer = create(model=model, max_tokens=20, messages=QUESTION, stop_sequences=[" Paris"])
    results["stop_sequence"] = [answer.content[0].text, answer.stop_reason, answer.stop_sequence]
    results["length"] = create(model=model, max_tokens=2, messages=QUESTION).stop_reason
    results["count"] = client.messages.count_tokens(model=model, messages=QUESTION).input_tokens

    function = TOOL["function"]
    tool = {"name": function["name"], "description": function["description"], "input_schema": function["parameters"]}
    weather = weather_messages()
    forced = {"type": "tool", "name": "get_weather"}
    answer = create(model=model, max_tokens=40, messages=weather, tools=[tool], tool_choice=forced)
    uses = [block for block in answer.content if block.type == "tool_use"]
    results["tool_use"] = [[block.name, block.input] for block in uses]
    results["tool_stop_reason"] = answer.stop_reason

    with client.messages.stream(model=model, max_tokens=40, messages=weather, tools=[tool], tool_choice=forced) as stream:
        content = stream.get_final_message().content
        results["tool_stream"] = [[block.name, block.input] for block in content if block.type == "tool_use"]

    found = [{"type": "tool_result", "tool_use_id": block.id, "content": "Sunny, 20 degrees"} for block in uses]
    turn = weather + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": found}]
    results["tool_turn"] = create(model=model, max_tokens=20, messages=turn, tools=[tool]).content[0].text

    for name, call in {
        "unknown_model": lambda: create(model="nothing", max_tokens=5, messages=QUESTION),
        "unknown_field": lambda: create(model=model, max_tokens=5, messages=QUESTION, extra_body={"temprature": 1}),
        "wrong_key": lambda: anthropic.Anthropic(base_url=base, api_key="wrong", max_retries=0).messages.create(
            model=model, max_tokens=5, messages=QUESTION
        ),
    }.items():
        try:
            call()
            results[name] = None
        except anthropic.APIStatusError as error:
            results[name] = [type(error).__name__, error.body["error"]["type"]]


{"openai": openai_calls, "anthropic": anthropic_calls}[which]()
print(json.dumps(results))
