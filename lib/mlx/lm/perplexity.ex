defmodule Mlx.LM.Perplexity do
  @moduledoc false
  # How well a model foretells a text, for `Mlx.LM.perplexity/3`: the text is cut into windows of one length, and each is
  # read by itself.

  alias Mlx.Arguments.{ArgumentType, Given, Options}
  alias Mlx.LM.{Decoder, Tokenizer}
  alias Mlx.LM.Sampler.OptionTable

  # The length of a window where neither the caller nor the model says another.
  @window 512

  @table [
    window: {nil, {:optional, {:integer, 2, nil}}},
    windows: {nil, {:optional, {:integer, 1, nil}}},
    batch_size: {1, {:integer, 1, nil}},
    progress: {nil, {:optional, {:function, 1}}}
  ]

  # The logarithm of the greatest float.
  @greatest_exponent 709.0

  @type t :: %{
          perplexity: float() | :infinity,
          standard_error: float() | :infinity | nil,
          loss: float(),
          tokens: pos_integer(),
          windows: pos_integer()
        }

  @doc "The options, or an `ArgumentError`."
  @spec options!(Mlx.LM.t(), keyword()) :: keyword()
  def options!(lm, options) do
    options = Options.complete(options, :"LM.perplexity", OptionTable.defaults(@table))
    OptionTable.check!(@table, options)
    most = lm.model.config.context_length

    if is_integer(options[:window]) and options[:window] > most do
      raise ArgumentError,
            "expected :window to be at most the model's context length of #{most}, got: #{Given.text(options[:window])}"
    end

    Keyword.update!(options, :window, &(&1 || min(@window, most)))
  end

  @doc "Tokens of which a window can be made, or an `ArgumentError`."
  @spec ids!(Mlx.LM.t(), term()) :: [Tokenizer.id()]
  def ids!(lm, text) when is_binary(text), do: lm.tokenizer |> Tokenizer.encode(text) |> enough!()

  def ids!(lm, ids) do
    if not (ArgumentType.list?(ids) and Enum.all?(ids, &is_integer/1)) do
      raise ArgumentError, "expected a text or a list of tokens, got: #{inspect(ids, charlists: :as_lists)}"
    end

    # Raises for what is not in the vocabulary.
    Enum.each(ids, &Tokenizer.bytes(lm.tokenizer, &1))
    enough!(ids)
  end

  defp enough!([_, _ | _] = ids), do: ids

  defp enough!(ids) do
    raise ArgumentError,
          "expected a text of at least two tokens, because the first one is not foretold, got: #{Given.text(ids)}"
  end

  @doc "The figures for tokens. `report` gets `{:windows, done, total}`."
  @spec of(Decoder.t(), [Tokenizer.id(), ...], keyword()) :: t()
  def of(model, ids, options) do
    windows = windows(ids, options[:window], options[:windows])
    report = options[:progress] || fn _progress -> :ok end
    total = length(windows)
    report.({:windows, 0, total})

    {losses, ^total} =
      windows
      |> Enum.chunk_every(options[:batch_size])
      |> Enum.flat_map_reduce(0, fn batch, done ->
        losses = losses(model, batch)
        report.({:windows, done + length(batch), total})
        {losses, done + length(batch)}
      end)

    figures(losses, total)
  end

  # What is left over at the end is left out, as Python does. A text that is shorter than a window is one.
  defp windows(ids, length, most) do
    windows = Enum.chunk_every(ids, length, length, :discard)
    if windows == [], do: [ids], else: if(most, do: Enum.take(windows, most), else: windows)
  end

  # The negative log-likelihood of each token but the first of each window.
  defp losses(model, batch) do
    ids = Mlx.array(batch, type: :s32)
    {count, length} = ids.shape
    {logits, _caches} = Decoder.logits(model, Mlx.slice(ids, [0, 0], [count, length - 1]), Decoder.caches(model))
    logits = Mlx.as_type(logits, :f32)
    targets = ids |> Mlx.slice([0, 1], [count, length - 1]) |> Mlx.new_axis(-1)
    chosen = logits |> Mlx.take_along_axis(targets, axis: -1) |> Mlx.squeeze(axes: [-1])
    losses = logits |> Mlx.logsumexp(axes: [-1]) |> Mlx.subtract(chosen) |> Mlx.reshape({-1}) |> Mlx.to_list()

    if not Enum.all?(losses, &is_float/1) do
      raise Mlx.Error, "Mlx.LM.perplexity: the model gives logits that are not finite"
    end

    losses
  end

  defp figures(losses, windows) do
    count = length(losses)
    mean = Enum.sum(losses) / count
    perplexity = exp(mean)

    %{
      perplexity: perplexity,
      standard_error: standard_error(losses, count, mean, perplexity),
      loss: mean,
      tokens: count,
      windows: windows
    }
  end

  # That of the mean, times the slope of the exponential function there.
  defp standard_error(_losses, 1, _mean, _perplexity), do: nil
  defp standard_error(_losses, _count, _mean, :infinity), do: :infinity

  defp standard_error(losses, count, mean, perplexity) do
    variance = Enum.sum_by(losses, &((&1 - mean) ** 2)) / (count - 1)
    perplexity * :math.sqrt(variance / count)
  end

  defp exp(mean) when mean > @greatest_exponent, do: :infinity
  defp exp(mean), do: :math.exp(mean)
end
