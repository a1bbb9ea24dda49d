defmodule Mlx.TinyEncoder do
  @moduledoc """
  A BERT with random weights in a folder, small enough to be made for each test, and a tokenizer for it: a token for each
  character, between the tokens 2 and 3.
  """

  alias Mlx.LM.Encoder
  alias Mlx.LM.Encoder.{Family, TensorNames}

  @vocabulary 60

  @doc "Its `config.json`, with changes."
  def config(changes \\ %{}) do
    Map.merge(
      %{
        "model_type" => "bert",
        "vocab_size" => @vocabulary,
        "hidden_size" => 16,
        "num_attention_heads" => 2,
        "num_hidden_layers" => 2,
        "intermediate_size" => 24,
        "max_position_embeddings" => 40,
        "type_vocab_size" => 2
      },
      changes
    )
  end

  @doc "Its tensors by the names that they have in a file, with a classifier where there are labels."
  def tensors(config \\ config()) do
    family = Family.fetch!(config)
    model = Encoder.build(family.config(config, is_map_key(config, "num_labels")))

    for {{path, array}, seed} <- Enum.with_index(Mlx.Tree.flatten(model)),
        names = TensorNames.of(path, family.names()),
        shape = put_elem(array.shape, 0, div(elem(array.shape, 0), length(names))),
        {name, place} <- Enum.with_index(names),
        into: %{} do
      {name, Mlx.Random.normal(shape, scale: 0.3, key: Mlx.Random.key(100 * seed + place))}
    end
  end

  @doc "Writes it to a folder, which is returned. `files` are others, with their contents."
  def save(folder, changes \\ %{}, files \\ %{}) do
    config = config(changes)
    File.mkdir_p!(folder)
    write(folder, "config.json", config)
    Mlx.IO.save(Path.join(folder, "model.safetensors"), tensors(config))
    for {name, content} <- files, do: write(folder, name, content)
    folder
  end

  @doc "Writes a file of JSON in the folder."
  def write(folder, name, content) do
    path = Path.join(folder, name)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, JSON.encode!(content))
  end

  @doc "The tokens of a text."
  def encode(text), do: [2] ++ for(<<byte <- text>>, do: 5 + rem(byte, @vocabulary - 5)) ++ [3]
end
