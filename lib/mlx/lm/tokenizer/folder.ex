defmodule Mlx.LM.Tokenizer.Folder do
  @moduledoc false
  # The files of a model's folder that say how its tokenizer works.

  alias Mlx.LM.Tokenizer
  alias Mlx.LM.Tokenizer.{Definition, Fields}

  @doc "The tokenizer of a folder."
  @spec tokenizer(String.t()) :: Tokenizer.t()
  def tokenizer(path) do
    Definition.tokenizer(read!(path, "tokenizer.json"), config(path), end_ids(path))
  end

  @doc "What `tokenizer_config.json` says, with `special_tokens_map.json` for tokens that it does not name."
  @spec config(String.t()) :: map
  def config(path) do
    Map.merge(read(path, "special_tokens_map.json") || %{}, read(path, "tokenizer_config.json") || %{}, fn _name,
                                                                                                           token,
                                                                                                           given ->
      if given == nil, do: token, else: given
    end)
  end

  # The configuration of generation lists them, or else that of the model.
  defp end_ids(path) do
    Enum.find_value(["generation_config.json", "config.json"], fn name ->
      case read(path, name) do
        %{"eos_token_id" => id} when is_integer(id) and id >= 0 -> [id]
        %{"eos_token_id" => [_ | _] = ids} -> Fields.each(ids, "#{name}, eos_token_id", &Fields.check(&1, :count, &2))
        _other -> nil
      end
    end)
  end

  @doc "The content of a JSON file that has to be there."
  @spec read!(String.t(), String.t()) :: map
  def read!(path, name) do
    read(path, name) || raise Mlx.Error, message: "#{path} has no file #{name}"
  end

  @doc "The object in a JSON file, or nil where there is no such file."
  @spec read(String.t(), String.t()) :: map | nil
  def read(path, name) do
    case File.read(Path.join(path, name)) do
      {:ok, json} ->
        json |> decode(name) |> Fields.check(:object, name)

      {:error, reason} when reason in [:enoent, :enotdir] ->
        nil

      {:error, reason} ->
        raise Mlx.Error, message: "#{Path.join(path, name)} cannot be read: #{:file.format_error(reason)}"
    end
  end

  @doc "The content of a JSON text."
  @spec decode(binary, String.t()) :: term
  def decode(json, name) do
    case JSON.decode(json) do
      {:ok, content} -> content
      {:error, {:unexpected_end, _at}} -> Fields.fail(name, "is not JSON: it ends too early")
      {:error, {:invalid_byte, at, _byte}} -> Fields.fail(name, "is not JSON: it is wrong at byte #{at}")
      {:error, {:unexpected_sequence, at, _bytes}} -> Fields.fail(name, "is not JSON: it is wrong at byte #{at}")
    end
  end
end
