defmodule Mlx.LM.Encoder.Sequences do
  @moduledoc false
  # Texts and tokens as they are given to functions that read them, checked. `function` is the name in `Mlx`.

  alias Mlx.Arguments.Given
  alias Mlx.LM.Encoder
  alias Mlx.LM.Encoder.{Batches, Text}

  @doc "The limits of batches among the options. `longest` is what the model can read, `length` how much it reads."
  @spec limits!(keyword(), pos_integer(), pos_integer(), pos_integer(), String.t()) :: Batches.limits()
  def limits!(options, length, longest, heads, called) do
    size = options[:batch_size]
    most = options[:max_length] || length

    if not (is_integer(size) and size > 0) do
      raise ArgumentError, "#{called}: expected :batch_size to be a positive integer, got: #{Given.text(size)}"
    end

    if not (is_integer(most) and most in 1..longest) do
      raise ArgumentError,
            "#{called}: expected :max_length to be an integer from 1 to #{longest}, got: #{Given.text(most)}"
    end

    %{heads: heads, batch_size: size, length: most}
  end

  @doc "Raises unless these are texts that become tokens."
  @spec check_texts!([term()], Text.t() | nil, pos_integer(), atom()) :: :ok
  def check_texts!(texts, text, longest, function) do
    case Enum.find(texts, &(not is_binary(&1))) do
      nil -> check_tokenizer!(text, longest, function)
      other -> raise ArgumentError, "Mlx.#{function}: expected texts to be strings, got: #{Given.text(other)}"
    end
  end

  @doc "Raises without a tokenizer, and where a text has no room beside the special tokens."
  @spec check_tokenizer!(Text.t() | nil, pos_integer(), atom(), pos_integer()) :: :ok
  def check_tokenizer!(text, longest, function, special \\ 0)

  def check_tokenizer!(nil, _longest, function, _special) do
    raise ArgumentError,
          "Mlx.#{function}: there is no tokenizer.json in the folder of the model; give the option :tokenizer when it is " <>
            "loaded, or tokens in place of texts"
  end

  def check_tokenizer!(text, longest, function, special) do
    special = max(special, Text.special(text))

    if longest <= special do
      raise ArgumentError,
            "Mlx.#{function}: expected :max_length to be more than #{special}, the number of special tokens, got: #{longest}"
    end

    :ok
  end

  @doc "Raises unless these are tokens of the model, at least one and at most so many."
  @spec check!([Text.sequence()], Encoder.t() | struct(), pos_integer(), atom()) :: :ok
  def check!(sequences, encoder, longest, function) do
    {count, _width} = Encoder.sizes(encoder)
    for {{ids, _types}, place} <- Enum.with_index(sequences), do: check_ids!(ids, place, count, longest, function)
    :ok
  end

  defp check_ids!(ids, place, count, longest, function) do
    cond do
      not proper?(ids) ->
        raise ArgumentError, "Mlx.#{function}: expected lists of tokens, got: #{Given.text(ids)} at #{place}"

      ids == [] ->
        raise ArgumentError, "Mlx.#{function}: there are no tokens at #{place}, expected at least one"

      length(ids) > longest ->
        raise ArgumentError, "Mlx.#{function}: there are #{length(ids)} tokens at #{place}, expected at most #{longest}"

      wrong = Enum.find(ids, &(not (is_integer(&1) and &1 in 0..(count - 1)//1))) ->
        raise ArgumentError,
              "Mlx.#{function}: expected tokens from 0 to #{count - 1}, got: #{Given.text(wrong)} at #{place}"

      true ->
        :ok
    end
  end

  defp proper?(ids), do: is_list(ids) and List.improper?(ids) == false
end
