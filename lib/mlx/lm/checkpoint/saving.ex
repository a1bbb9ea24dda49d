defmodule Mlx.LM.Checkpoint.Saving do
  @moduledoc false
  # Writes a model and the files beside it in a new folder, for `Mlx.LM.Checkpoint.save/3` and conversions.

  alias Mlx.Arguments.Given
  alias Mlx.IO.FilePath
  alias Mlx.LM.Checkpoint.{Folder, Saved}
  alias Mlx.LM.Decoder
  alias Mlx.LM.Families.Fields

  @shard_size 5 * 1024 * 1024 * 1024

  # Files beside the tensors: tokenizers, templates, and how text is generated.
  @companions ["tokenizer*", "*token*.json", "vocab.*", "merges.txt", "*.tiktoken", "generation_config.json"] ++
                ["chat_template*", "additional_chat_templates/*.jinja"]

  @doc "The options of `Mlx.LM.Checkpoint.save/3`."
  @spec defaults() :: keyword()
  def defaults, do: [config: nil, from: nil, families: %{}, shard_size: @shard_size, progress: nil]

  @doc "Saves a model as `Mlx.LM.Checkpoint.save/3` does, with all of its options."
  @spec save(Decoder.t(), String.t(), keyword()) :: :ok
  def save(decoder, folder, options) do
    check!(options)
    fields = options[:config]
    saved = Saved.of(fields, options[:families])
    content = {Saved.config(saved, fields, decoder, nil), Saved.parameters(decoder)}
    table = saved |> Saved.tensors(decoder) |> Folder.table()
    write(folder, content, table, Keyword.put(options, :files, &copy(options[:from], &1)))
  end

  defp check!(options) do
    if not is_struct(options[:config], Fields) do
      raise ArgumentError,
            "expected :config to be the fields of a config.json, as Mlx.LM.Checkpoint.config/1 gives them, got: " <>
              Given.text(options[:config])
    end

    if not (is_integer(options[:shard_size]) and options[:shard_size] > 0),
      do:
        raise(ArgumentError, "expected :shard_size to be a positive integer, got: #{Given.text(options[:shard_size])}")

    if not (options[:progress] == nil or is_function(options[:progress], 1)),
      do:
        raise(
          ArgumentError,
          "expected :progress to be a function of 1 argument, got: #{Given.text(options[:progress])}"
        )

    if options[:from], do: FilePath.string!(options[:from], :"LM.Checkpoint.save")
    :ok
  end

  @doc "Writes what `Mlx.LM.Checkpoint.Folder` has in a table. `:files` of the options is a function that gets the folder."
  @spec write(Path.t(), {map(), non_neg_integer()}, {:ets.table(), list()}, keyword()) :: :ok
  def write(folder, {config, parameters}, {table, _kinds} = tensors, options) do
    report = options[:progress] || fn _progress -> :ok end

    Folder.create(folder, fn temporary ->
      Folder.write_json(temporary, "config.json", config)
      options[:files].(temporary)
      Folder.write_tensors(temporary, tensors, options[:shard_size] || @shard_size, parameters, report)
    end)
  after
    :ets.delete(table)
  end

  @doc "Copies the files beside the tensors of a folder, if there is one."
  @spec copy(Path.t() | nil, Path.t()) :: :ok
  def copy(nil, _folder), do: :ok
  def copy(from, folder), do: Folder.copy(to_string(from), folder, @companions)
end
