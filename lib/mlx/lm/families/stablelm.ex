defmodule Mlx.LM.Families.StableLM do
  @moduledoc false
  # Layer normalisations, a part of each head rotates; in some models both parts take the same input, and each head has a
  # normalisation of its own.

  use Mlx.LM.Family

  alias Mlx.LM.Families.{Fields, Plain, Rope}

  @head_norm ~r/\.([qk])_layernorm\.norms\.(\d+)\.weight$/

  @impl true
  def config(fields) do
    eps = Fields.positive(fields, "layer_norm_eps", 1.0e-5)
    size = Plain.head_size(fields)

    norm =
      if Fields.flag(fields, "qk_layernorm", false), do: [norm: {:layer_without_bias, eps}, norm_of: :each], else: []

    rope = Rope.read(fields, size, dims: Rope.partial(fields, size), traditional: false, scaling: false)
    attention = [bias: Fields.flag(fields, "use_qkv_bias", false), output_bias: false, rope: rope] ++ norm

    Plain.config(fields,
      norm: {:layer, eps},
      norms: if(Fields.flag(fields, "use_parallel_residual", false), do: :parallel, else: :pre),
      attention: attention,
      tied: false
    )
  end

  @impl true
  def tensors(tensors, _fields) do
    {norms, others} = Enum.split_with(tensors, fn {name, _array} -> name =~ @head_norm end)

    norms
    |> Enum.group_by(fn {name, _array} -> Regex.replace(@head_norm, name, ".\\1_norm.weight") end)
    |> Map.new(fn {name, heads} -> {name, heads |> Enum.sort_by(&head/1) |> Enum.map(&elem(&1, 1)) |> Mlx.stack()} end)
    |> Map.merge(Map.new(others))
  end

  @impl true
  def saved(path, array, _fields) do
    case Regex.run(~r/^(.*)\.([qk])_norm\.weight$/, path) do
      nil ->
        [{path, array}]

      [_all, attention, part] ->
        for {weight, head} <- Enum.with_index(Mlx.unstack(array)),
            do: {"#{attention}.#{part}_layernorm.norms.#{head}.weight", weight}
    end
  end

  defp head({name, _array}), do: @head_norm |> Regex.run(name) |> Enum.at(2) |> String.to_integer()
end
