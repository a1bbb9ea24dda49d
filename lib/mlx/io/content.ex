defmodule Mlx.IO.Content do
  @moduledoc false
  # What is to be written: arrays and metadata, with strings for names.

  alias Mlx.Array

  @type t :: Array.t() | %{String.t() => Array.t()}

  @doc """
  The arrays and the metadata that a function of `Mlx.IO` got for a format. Raises `ArgumentError`, with the name of the
  function, when they are not what the format takes.
  """
  @spec check!(atom(), Mlx.IO.format(), term(), term()) :: {t(), %{String.t() => term()}}
  def check!(function, format, content, metadata) do
    {content!(function, format, content), metadata!(function, format, metadata || %{})}
  end

  defp content!(_function, :npy, %Array{} = array), do: array

  defp content!(function, format, arrays) when format != :npy and is_map(arrays) and not is_struct(arrays) do
    by_name!(function, arrays, "the array", fn
      _name, %Array{} = array -> array
      name, other -> expected!(function, "#{inspect(name)} to name an array", other)
    end)
  end

  defp content!(function, format, other) do
    what = if format == :npy, do: "an array", else: "a map of names and arrays"
    expected!(function, "#{what} for the format #{inspect(format)}", other)
  end

  defp metadata!(function, format, metadata) when is_map(metadata) and not is_struct(metadata) do
    by_name!(function, metadata, "the metadata", &value!(function, format, &1, &2))
  end

  defp metadata!(function, _format, other), do: expected!(function, ":metadata to be a map", other)

  defp value!(function, :safetensors, key, value), do: string!(function, value, "the metadata #{inspect(key)}")

  defp value!(function, :gguf, key, [first | _] = strings) when is_binary(first) do
    if Enum.all?(strings, &is_binary/1) do
      strings
    else
      expected!(function, "the metadata #{inspect(key)} to be a list of strings", strings)
    end
  end

  defp value!(_function, _format, _key, value), do: value

  # The map with strings for names.
  defp by_name!(function, map, what, check) do
    named = for {name, value} <- map, into: %{}, do: {name!(function, name, what), check.(name, value)}
    if map_size(named) == map_size(map), do: named, else: expected!(function, "different names", Map.keys(map))
  end

  defp name!(function, name, what) when is_binary(name) or is_atom(name) do
    string!(function, to_string(name), "the name of #{what} #{inspect(name)}")
  end

  defp name!(function, name, what), do: expected!(function, "the name of #{what} to be a string or an atom", name)

  # MLX takes a zero byte for the end of a string.
  defp string!(function, text, what) do
    cond do
      not is_binary(text) -> expected!(function, "#{what} to be a string", text)
      String.valid?(text) and not String.contains?(text, <<0>>) -> text
      true -> expected!(function, "#{what} to be UTF-8 without zero bytes", text)
    end
  end

  @spec expected!(atom(), String.t(), term()) :: no_return()
  defp expected!(function, what, got) do
    raise ArgumentError, "Mlx.IO.#{function}: expected #{what}, got: #{inspect(got)}"
  end
end
