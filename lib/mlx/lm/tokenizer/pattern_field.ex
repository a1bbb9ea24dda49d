defmodule Mlx.LM.Tokenizer.PatternField do
  @moduledoc false
  # Reads the field `pattern` of an object: `{"String": ...}` or `{"Regex": ...}`.

  alias Mlx.LM.Tokenizer.{Fields, Pattern}

  @doc "The pattern."
  @spec read(map, String.t()) :: Pattern.t()
  def read(object, place) do
    case source(object, place) do
      {:string, string} ->
        Pattern.string(string)

      {:regex, source} ->
        case Pattern.regex(source) do
          {:ok, pattern} ->
            pattern

          {:error, problem} ->
            Fields.fail("#{place}.pattern", "is a regular expression that cannot be read: #{problem}")
        end
    end
  end

  @doc "The pattern as it is written."
  @spec source(map, String.t()) :: {:string | :regex, String.t()}
  def source(object, place) do
    case Fields.get(object, "pattern", :object, place) do
      %{"String" => string} when is_binary(string) -> {:string, string}
      %{"Regex" => source} when is_binary(source) -> {:regex, source}
      _other -> Fields.fail("#{place}.pattern", ~s(has to be {"String": text} or {"Regex": text}))
    end
  end
end
