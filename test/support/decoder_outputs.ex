defmodule Mlx.Test.DecoderOutputs do
  @moduledoc false
  # What a model of a folder computes, beside what an oracle computed: the logits of a prompt, in one go and in parts, those
  # of single tokens after it, and the tokens that the compiled step writes.

  alias Mlx.LM.{Checkpoint, Decoder, Decoding, Sampler}

  @doc "The greatest difference of two arrays, as a part of the greatest number. Where both are minus infinity there is none."
  @spec distance(Mlx.Array.t(), Mlx.Array.t()) :: number()
  def distance(a, b) do
    difference = Mlx.select(Mlx.equal(a, b), 0, Mlx.subtract(a, b))
    finite = Mlx.select(Mlx.equal(b, :neg_infinity), 0, b)
    [most, scale] = for x <- [difference, finite], do: x |> Mlx.abs() |> Mlx.reduce_max() |> Mlx.to_number()
    most / scale
  end

  @doc "The logits of the prompt and of each step after it, for the tokens before the steps."
  @spec one_by_one(Decoder.t(), Mlx.Array.t(), [non_neg_integer()]) :: {Mlx.Array.t(), Mlx.Array.t()}
  def one_by_one(model, ids, tokens) do
    {prompt, caches} = Decoder.logits(model, ids, Decoder.caches(model))

    {steps, _caches} =
      Enum.map_reduce(tokens, caches, fn token, caches -> Decoder.call(model, Mlx.array([[token]]), caches) end)

    {Mlx.squeeze(prompt, axes: [0]), Mlx.concatenate(steps)}
  end

  @doc "The tokens that the compiled step writes after a prompt."
  @spec compiled(Decoder.t(), Mlx.Array.t(), pos_integer()) :: [non_neg_integer()]
  def compiled(model, ids, count) do
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

  @doc """
  The distance of most rows: of two models that round, a number in the middle of two may go to the one here and to the other
  there, which changes the rows that see it.
  """
  @spec median_distance(Mlx.Array.t(), Mlx.Array.t()) :: number()
  def median_distance(a, b) do
    rows = a |> Mlx.subtract(b) |> Mlx.abs() |> Mlx.reduce_max(axes: [-1])
    Mlx.to_number(Mlx.divide(Mlx.median(rows), b |> Mlx.abs() |> Mlx.reduce_max()))
  end

  defp rounds?(folder), do: folder =~ "-rounded"

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
    rounds? = rounds?(folder)
    rows = if rounds?, do: &median_distance/2, else: &distance/2
    last = Mlx.slice(expected["prompt"], [length - 1, 0], [1, vocabulary])

    [
      prompt: rows.(prompt, expected["prompt"]),
      steps: rows.(steps, expected["steps"]),
      parts: if(rounds? or depends_on_parts?(folder), do: 0, else: distance(in_parts(model, expected["ids"]), last)),
      tokens: if(rounds? or compiled(model, expected["ids"], length(tokens)) == tokens, do: 0, else: 1)
    ]
    |> Enum.filter(fn {_what, distance} -> not (distance <= tolerance) end)
  end
end
