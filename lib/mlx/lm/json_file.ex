defmodule Mlx.LM.JSONFile do
  @moduledoc false
  # A file of a model that holds JSON.

  alias Mlx.Arguments.Given
  alias Mlx.IO.JSON

  @most 64 * 1024 * 1024

  @doc "The object in a file. Raises `Mlx.Error` with the path."
  @spec read!(Path.t()) :: %{String.t() => term()}
  def read!(path) do
    case value!(path) do
      map when is_map(map) -> map
      other -> raise Mlx.Error, message: "#{path}: expected a JSON object, got: #{Given.text(other)}"
    end
  end

  @doc "The value in a file, of whatever kind. Raises `Mlx.Error` with the path."
  @spec value!(Path.t()) :: term()
  def value!(path) do
    with {:ok, %File.Stat{type: :regular, size: size}} when size <= @most <- File.stat(path),
         {:ok, text} <- File.read(path) do
      value = text |> quoted() |> decoded!(path)
      if String.contains?(text, "__float__"), do: plain(value), else: value
    else
      {:ok, %File.Stat{type: :regular}} -> raise Mlx.Error, message: "#{path} is larger than #{@most} bytes"
      {:ok, _stat} -> raise Mlx.Error, message: "#{path} is no file"
      {:error, reason} -> raise Mlx.Error, message: "cannot read #{path}: #{:file.format_error(reason)}"
    end
  end

  # Python writes an infinity as JSON does not have it. It becomes a string.
  @strings_and_infinities ~r/"(?:[^"\\]++|\\.)*+"|-?Infinity\b/s

  defp quoted(text) do
    if String.contains?(text, "Infinity"),
      do: Regex.replace(@strings_and_infinities, text, &if(String.starts_with?(&1, "\""), do: &1, else: ~s("#{&1}"))),
      else: text
  end

  # Transformers and mlx-lm write an infinity as an object.
  defp plain(%{"__float__" => text}) when is_binary(text), do: text
  defp plain(map) when is_map(map), do: Map.new(map, fn {key, value} -> {key, plain(value)} end)
  defp plain(list) when is_list(list), do: Enum.map(list, &plain/1)
  defp plain(other), do: other

  defp decoded!(text, path) do
    JSON.decode!(text)
  rescue
    error in Mlx.Error -> reraise Mlx.Error, [message: "#{path} is no JSON: #{error.message}"], __STACKTRACE__
  end
end
