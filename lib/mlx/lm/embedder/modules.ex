defmodule Mlx.LM.Embedder.Modules do
  @moduledoc false
  # The files that sentence-transformers keeps beside a model: what follows the encoder (`modules.json`), the longest text,
  # and what is put in front of texts.

  alias Mlx.Arguments.Given
  alias Mlx.LM.JSONFile
  alias Mlx.LM.Embedder.Dense
  alias Mlx.LM.Encoder.{Checkpoint, Folder, Pooling}

  # The names in the file of a pooling.
  @pooling [
    cls: "pooling_mode_cls_token",
    max: "pooling_mode_max_tokens",
    mean: "pooling_mode_mean_tokens",
    mean_sqrt_len: "pooling_mode_mean_sqrt_len_tokens",
    weighted_mean: "pooling_mode_weightedmean_tokens",
    last: "pooling_mode_lasttoken"
  ]

  @named %{
    "cls" => :cls,
    "max" => :max,
    "mean" => :mean,
    "mean_sqrt_len_tokens" => :mean_sqrt_len,
    "weightedmean" => :weighted_mean,
    "lasttoken" => :last
  }

  @similarities %{"cosine" => :cosine, "dot" => :dot, "euclidean" => :euclidean, "manhattan" => :manhattan}

  @typedoc "A module: its kind, and its folder."
  @type part :: {String.t(), Path.t()}

  @doc "The modules of a folder: only the encoder and a mean where it says nothing of them."
  @spec list(Path.t()) :: [part()]
  def list(folder) do
    path = Path.join(folder, "modules.json")
    if File.regular?(path), do: path |> JSONFile.value!() |> parts(folder, path), else: [{"Transformer", folder}]
  end

  defp parts([_ | _] = modules, folder, path), do: for(module <- modules, do: part(module, folder, path))
  defp parts(other, _folder, path), do: refuse(path, other)

  defp part(%{"type" => type, "path" => place}, folder, path) when is_binary(type) and is_binary(place) do
    if Path.type(place) != :relative or ".." in Path.split(place) do
      Checkpoint.fail!("#{path} has the path #{inspect(place)}, expected one inside of the folder")
    end

    {type |> String.split(".") |> List.last(), Path.join(folder, place)}
  end

  defp part(other, _folder, path), do: refuse(path, other)

  @spec refuse(Path.t(), term()) :: no_return()
  defp refuse(path, other) do
    Checkpoint.fail!("#{path}: expected a list of objects with type and path, got: #{Given.text(other)}")
  end

  @doc "The folder of the encoder among the modules."
  @spec encoder([part()]) :: Path.t()
  def encoder([{"Transformer", folder} | _]), do: folder

  def encoder([{kind, _folder} | _]) do
    Checkpoint.fail!("modules.json begins with #{kind}, expected a Transformer")
  end

  @doc "What comes after the encoder: `{pooling, include_prompt, dense, normalize}`."
  @spec heads([part()], Mlx.Type.t()) :: {[Pooling.mode()], boolean(), [Dense.t()], boolean()}
  def heads([_encoder | parts], type) do
    Enum.reduce(parts, {[:mean], true, [], false}, fn
      {"Pooling", folder}, {_pooling, _include, [], false} ->
        json = JSONFile.read!(Path.join(folder, "config.json"))
        {pooling!(json, folder), Map.get(json, "include_prompt", true) != false, [], false}

      {"Dense", folder}, {pooling, include, dense, false} ->
        {pooling, include, dense ++ [Dense.load(folder, type)], false}

      {"Normalize", _folder}, {pooling, include, dense, _normalize} ->
        {pooling, include, dense, true}

      {kind, _folder}, _parts when kind in ["Pooling", "Dense"] ->
        Checkpoint.fail!("modules.json has #{kind} at a place where it is not supported")

      {kind, _folder}, _parts ->
        Checkpoint.fail!("modules.json has the module #{kind}, expected Transformer, Pooling, Dense and Normalize")
    end)
  end

  defp pooling!(%{"pooling_mode" => mode}, folder) when is_binary(mode) or is_list(mode) do
    for name <- List.wrap(mode), do: Map.get(@named, name) || no_pooling(folder)
  end

  defp pooling!(json, folder) do
    modes = for {mode, key} <- @pooling, json[key] == true, do: mode
    if modes == [], do: no_pooling(folder), else: modes
  end

  @spec no_pooling(Path.t()) :: no_return()
  defp no_pooling(folder) do
    Checkpoint.fail!("#{folder}/config.json has no pooling that is known, which are #{inspect(Pooling.modes())}")
  end

  @doc "The longest text that the folder of the encoder sets, or nil."
  @spec max_length(Path.t()) :: pos_integer() | nil
  def max_length(folder) do
    case Folder.optional(folder, "sentence_bert_config.json")["max_seq_length"] do
      nil ->
        nil

      length when is_integer(length) and length > 0 ->
        length

      other ->
        Checkpoint.fail!("sentence_bert_config.json: max_seq_length is #{inspect(other)}, expected a positive integer")
    end
  end

  @doc "The prompts, the name of the one that is used without being asked for, and the kind of similarity."
  @spec settings(Path.t()) :: {%{String.t() => String.t()}, String.t() | nil, atom()}
  def settings(folder) do
    file = "config_sentence_transformers.json"
    json = Folder.optional(folder, file)
    prompts = json["prompts"] || %{}
    default = json["default_prompt_name"]

    if not (is_map(prompts) and Enum.all?(prompts, fn {_name, text} -> is_binary(text) end)) do
      Checkpoint.fail!("#{file}: expected prompts to be an object of strings, got: #{Given.text(prompts)}")
    end

    if default != nil and not is_map_key(prompts, default) do
      Checkpoint.fail!("#{file}: default_prompt_name is #{inspect(default)}, and there is no such prompt")
    end

    similarity = json["similarity_fn_name"] || "cosine"

    if not is_map_key(@similarities, similarity) do
      Checkpoint.fail!(
        "#{file}: similarity_fn_name is #{inspect(similarity)}, expected one of #{Enum.join(Map.keys(@similarities), ", ")}"
      )
    end

    {prompts, default, @similarities[similarity]}
  end
end
