defmodule Mlx.LM.HTTP.Completions do
  @moduledoc false
  # `/v1/completions`: text that goes on, without a chat template.

  alias Mlx.LM.HTTP.{Answer, Failure, Fields, Job, Models, Reply, Sampling, Settings, Tooling}

  @rows Sampling.rows() ++
          [
            {"model", :string, :keep},
            {"prompt", {:required, {:either, [:string, {:list, :any}]}}, :keep},
            {"max_tokens", {:integer, 1, nil}, {:option, :max_tokens}},
            {"n", {:integer, 1, 16}, :keep},
            {"best_of", {:one_of, [1]}, :nothing},
            {"echo", {:one_of, [false]}, :nothing},
            {"stream", :boolean, :keep},
            {"stream_options",
             {:fields, [{"include_usage", :boolean, :keep}, {"include_obfuscation", {:one_of, [false]}, :nothing}]},
             :keep},
            {"logprobs", {:integer, 0, 20}, :keep},
            {"ignore_eos", :boolean, {:option, :ignore_eos}},
            {"user", :string, :nothing},
            {"suffix", :unsupported, :nothing}
          ]

  # As many answers as a request may have.
  @most 64

  @spec call(map(), Settings.t()) :: Reply.t()
  def call(body, settings) do
    fields = Fields.read(body, @rows)
    kept = fields.kept
    model = Models.language_model!(settings, kept["model"])
    prompts = prompts(kept["prompt"])
    n = kept["n"] || 1
    if length(prompts) * n > @most, do: Failure.fail!(:invalid, "a request has at most #{@most} answers", "prompt")
    logprobs = if kept["logprobs"], do: [logprobs: kept["logprobs"]], else: []
    options = Sampling.options(fields, settings, nil) ++ logprobs
    requests = for prompt <- prompts, options <- Sampling.several(options, n), do: {prompt, options}

    Job.start!(model.server, requests) |> reply(kept, model, length(requests), n)
  end

  defp prompts(text) when is_binary(text), do: [text]
  defp prompts([]), do: Failure.fail!(:invalid, "prompt is empty", "prompt")

  defp prompts(list) do
    cond do
      Enum.all?(list, &is_binary/1) -> list
      tokens?(list) -> [list]
      Enum.all?(list, &(is_list(&1) and &1 != [] and tokens?(&1))) -> list
      true -> Failure.fail!(:invalid, "prompt must be a string, tokens, or a list of these", "prompt")
    end
  end

  defp tokens?(list), do: Enum.all?(list, &(is_integer(&1) and &1 >= 0))

  defp reply(job, kept, model, count, n) do
    state = %{
      answers: Map.new(0..(count - 1), &{&1, Answer.new(model.tokenizer)}),
      left: count,
      n: n,
      offsets: %{},
      logprobs: kept["logprobs"] != nil,
      usage: get_in(kept, ["stream_options", "include_usage"]) == true,
      head: %{id: Answer.id("cmpl-"), object: "text_completion", created: System.os_time(:second), model: model.name}
    }

    if kept["stream"], do: Reply.events(job, &streamed/2, &failed/2, state), else: Reply.later(job, &step/2, state)
  end

  defp step({index, event}, state) do
    {items, state} = took(index, event, state)
    if items != [] and state.left == 0, do: {:reply, Reply.json(200, whole(state))}, else: {:more, "", state}
  end

  defp took(index, event, state) do
    {items, answer} = Answer.event(state.answers[index], event)
    ended = Enum.count(items, &match?({:done, _response}, &1))
    {items, %{put_in(state.answers[index], answer) | left: state.left - ended}}
  end

  defp whole(state) do
    choices =
      for {index, answer} <- Enum.sort(state.answers) do
        {logprobs, _state} = logprobs(index, state)
        reason = Atom.to_string(answer.response.finish_reason)
        %{index: index, text: Answer.text(answer), logprobs: logprobs, finish_reason: reason}
      end

    Map.merge(state.head, %{choices: choices, usage: usage(state)})
  end

  defp failed(failure, _state), do: [Reply.event(nil, Failure.body(failure, :openai)), "data: [DONE]\n\n"]

  defp streamed({index, event}, state) do
    {items, state} = took(index, event, state)

    {pieces, state} =
      Enum.map_reduce(items, state, fn item, state ->
        {logprobs, state} = logprobs(index, state)
        {chunk(item, index, logprobs, state), state}
      end)

    if items != [] and state.left == 0, do: {:end, [pieces, ending(state)]}, else: {:more, pieces, state}
  end

  defp chunk({:text, text}, index, logprobs, state), do: chunk(text, index, logprobs, nil, state)

  defp chunk({:done, response}, index, logprobs, state),
    do: chunk("", index, logprobs, Atom.to_string(response.finish_reason), state)

  defp chunk(text, index, logprobs, reason, state) do
    choice = %{index: index, text: text, logprobs: logprobs, finish_reason: reason}
    Reply.event(nil, Map.put(state.head, :choices, [choice]))
  end

  defp ending(%{usage: true} = state),
    do: [Reply.event(nil, Map.merge(state.head, %{choices: [], usage: usage(state)})), "data: [DONE]\n\n"]

  defp ending(_state), do: "data: [DONE]\n\n"

  # The tokens of an answer since the last time, with the places where they begin in its text.
  defp logprobs(_index, %{logprobs: false} = state), do: {nil, state}

  defp logprobs(index, state) do
    {tokens, answer} = Answer.fresh(state.answers[index])
    texts = for token <- tokens, do: Answer.token(answer, token.id)
    {offsets, offset} = Enum.map_reduce(texts, state.offsets[index] || 0, &{&2, &2 + String.length(&1)})

    logprobs = %{
      tokens: texts,
      token_logprobs: for(token <- tokens, do: Answer.finite(token.logprob)),
      top_logprobs:
        for(
          token <- tokens,
          do: Map.new(token.top, fn {id, number} -> {Answer.token(answer, id), Answer.finite(number)} end)
        ),
      text_offset: offsets
    }

    {logprobs, %{put_in(state.answers[index], answer) | offsets: Map.put(state.offsets, index, offset)}}
  end

  # Answers to the same prompt have read it once.
  defp usage(state) do
    responses = for {index, answer} <- Enum.sort(state.answers), do: {index, answer.response}
    prompt = Enum.sum(for {index, response} <- responses, rem(index, state.n) == 0, do: response.prompt_tokens)
    cached = Enum.sum(for {index, response} <- responses, rem(index, state.n) == 0, do: Tooling.cached(response))
    generated = Enum.sum(for {_index, response} <- responses, do: response.generated_tokens)

    %{
      prompt_tokens: prompt,
      completion_tokens: generated,
      total_tokens: prompt + generated,
      prompt_tokens_details: %{cached_tokens: cached}
    }
  end
end
