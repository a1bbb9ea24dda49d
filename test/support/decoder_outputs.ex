defmodule Mlx.Test.DecoderOutputs do
  @moduledoc false
  # What a model of a folder computes, beside what an oracle computed: the logits of a prompt, in one go and in parts, those
  # of single tokens after it, and the tokens that the compiled step writes.

  alias Mlx.LM.{Checkpoint, Decoder, Decoding, Sampler}

  @doc "The greatest difference of two arrays, as a part of the greatest number. Where both are minus infinity there is none."
  @spec distance(Mlx.Array.t(), Mlx.Array.t()) :: number()
  def distance(a, b) do
    [a, b] = for x <- [a, b], do: Mlx.select(Mlx.is_negative_infinity(x), 0, x)
    [most, scale] = for x <- [Mlx.subtract(a, b), b], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  # The logits of the prompt and of each step after it, and the token before each step.
  defp one_by_one(model, ids, tokens) do
    {prompt, caches} = Decoder.logits(model, ids, Decoder.caches(model))

    {steps, _caches} =
      Enum.map_reduce(tokens, caches, fn token, caches -> Decoder.call(model, Mlx.array([[token]]), caches) end)

    {Mlx.squeeze(prompt, axes: [0]), Mlx.concatenate(steps)}
  end

  defp compiled(model, ids, count) do
    decode = Decoding.compile(model)
    {logits, caches} = Decoder.call(model, ids, Decoder.caches(model))
    {first, sampler} = Sampler.sample(Sampler.new(temperature: 0), logits)

    {tokens, _state} =
      Enum.map_reduce(1..count, {first, sampler, caches}, fn _step, {token, sampler, caches} ->
        Mlx.eval([token, caches])
        {Mlx.to_number(Mlx.squeeze(token)), Decoding.next(decode, token, sampler, caches)}
      end)

    tokens
  end

  defp in_parts(model, ids) do
    {logits, _caches} =
      ids
      |> Mlx.split(if(Mlx.axis_size(ids, 1) > 30, do: [7, 30], else: [2]), axis: 1)
      |> Enum.reduce({nil, Decoder.caches(model)}, fn part, {_logits, caches} -> Decoder.call(model, part, caches) end)

    logits
  end

  # Positions whose base depends on the length are those of the part that is read.
  defp depends_on_parts?(folder), do: folder =~ "dynamic"

  @doc "What is wrong with the outputs of a model in a folder, beside those in its `expected.safetensors`, as a keyword list."
  @spec problems(Path.t(), float()) :: keyword(number())
  def problems(folder, tolerance) do
    expected = Mlx.IO.load(Path.join(folder, "expected.safetensors"))
    tokens = Mlx.to_list(expected["tokens"])
    {length, vocabulary} = expected["prompt"].shape
    model = Checkpoint.load(folder, form: :quantized)
    {prompt, steps} = one_by_one(model, expected["ids"], tokens)
    last = Mlx.slice(expected["prompt"], [length - 1, 0], [1, vocabulary])

    [
      prompt: distance(prompt, expected["prompt"]),
      steps: distance(steps, expected["steps"]),
      parts: if(depends_on_parts?(folder), do: 0, else: distance(in_parts(model, expected["ids"]), last)),
      tokens: if(compiled(model, expected["ids"], length(tokens)) == tokens, do: 0, else: 1)
    ]
    |> Enum.filter(fn {_what, distance} -> not (distance <= tolerance) end)
  end
end
