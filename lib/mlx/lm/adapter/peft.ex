defmodule Mlx.LM.Adapter.PEFT do
  @moduledoc false
  # Adapters of PEFT's kind LORA: adapter_model.safetensors with base_model.model.PATH and one of
  #
  # | end of the name | shape |
  # | --- | --- |
  # | lora_A.weight, lora_B.weight | {rank, inputs}, {outputs, rank} |
  # | lora_embedding_A, lora_embedding_B | {rank, tokens}, {width, rank} |
  # | lora_magnitude_vector | {outputs}, for DoRA |
  # | weight, bias | an array of the model itself, of modules_to_save |
  #
  # The scale is lora_alpha / rank, or lora_alpha / sqrt(rank) with use_rslora. Single layers have their own lora_alpha in
  # alpha_pattern.

  alias Mlx.{Arguments.Given, Array}
  alias Mlx.LM.Adapter
  alias Mlx.LM.Adapter.Change
  alias Mlx.LM.Families.Fields

  @prefix "base_model.model."
  @part ~r/^(.*)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(\.default)?(\.weight)?$/
  @array ~r/^(.*?)(\.base_layer|\.modules_to_save(\.default)?)?\.(weight|bias)$/

  @parts %{
    "lora_A" => :a,
    "lora_B" => :b,
    "lora_embedding_A" => :embedding_a,
    "lora_embedding_B" => :embedding_b,
    "lora_magnitude_vector" => :magnitude
  }

  @doc false
  @spec file() :: String.t()
  def file, do: "adapter_model.safetensors"

  @doc "What the tensors hold. `rename` gives the names that they have in the decoder."
  @spec content(%{String.t() => Array.t()}, Fields.t(), (String.t() -> String.t() | nil)) :: Adapter.content()
  def content(tensors, fields, rename) do
    Fields.choice(fields, "peft_type", ["LORA"], nil)

    {parts, arrays} =
      tensors |> Enum.map(&named(&1, rename)) |> Enum.split_with(fn {_path, part, _array} -> is_atom(part) end)

    layers = Enum.group_by(parts, &elem(&1, 0), &Tuple.delete_at(&1, 0))

    %{
      changes: Map.new(layers, fn {path, parts} -> {path, change(path, Map.new(parts), fields)} end),
      replaced: Map.new(arrays, fn {path, name, array} -> {"#{path}.#{name}", array} end)
    }
  end

  defp named({name, array}, rename) do
    inner = String.replace_prefix(name, @prefix, "")

    {path, part} =
      case {Regex.run(@part, inner), Regex.run(@array, inner)} do
        {[_all, path, part | _rest], _array} -> {path, @parts[part]}
        {nil, [_all, path | rest]} -> {path, List.last(rest)}
        {nil, nil} -> raise Mlx.Error, message: "#{name} is no array of an adapter"
      end

    {rename.(path) || path, part, array}
  end

  defp change(path, parts, fields) do
    case parts do
      %{a: %Array{shape: {rank, _}} = a, b: %Array{shape: {_, _}} = b} when rank > 0 ->
        %Change{
          a: Mlx.transpose(a),
          b: Mlx.transpose(b),
          scale: scale(path, rank, fields),
          magnitude: magnitude(parts[:magnitude])
        }

      %{embedding_a: %Array{shape: {rank, _}} = a, embedding_b: %Array{shape: {_, _}} = b}
      when rank > 0 and not is_map_key(parts, :magnitude) ->
        %Change{a: Mlx.transpose(a), b: Mlx.transpose(b), scale: scale(path, rank, fields), output: false}

      _other ->
        given = Enum.map_join(parts, ", ", fn {part, array} -> "#{part} #{inspect(array.shape)}" end)
        raise Mlx.Error, message: "#{path} has #{given}, expected two matrices, A and B"
    end
  end

  defp magnitude(nil), do: nil
  defp magnitude(array), do: Mlx.flatten(array)

  defp scale(path, rank, fields) do
    alpha = own(fields, "alpha_pattern", path) || Fields.number(fields, "lora_alpha", 8)
    if Fields.flag(fields, "use_rslora", false), do: alpha / :math.sqrt(rank), else: alpha / rank
  end

  # The value of the first pattern that the end of a path, from a dot on, is of.
  defp own(fields, key, path) do
    with %Fields{map: patterns} <- Fields.under(fields, key) do
      Enum.find_value(Enum.sort(patterns), fn {pattern, value} ->
        if not is_number(value), do: Fields.refuse(fields, key, "numbers by patterns")
        if matches?(pattern, path, fields, key), do: value
      end)
    end
  end

  defp matches?(pattern, path, fields, key) do
    case Regex.compile("^(.*\\.)?(#{pattern})$") do
      {:ok, regex} -> path =~ regex
      {:error, _reason} -> Fields.refuse(fields, key, "regular expressions, and not #{Given.text(pattern)}")
    end
  end
end
