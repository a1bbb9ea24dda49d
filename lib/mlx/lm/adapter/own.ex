defmodule Mlx.LM.Adapter.Own do
  @moduledoc false
  # Adapters of mlx-lm: adapters.safetensors with PATH.lora_a, PATH.lora_b and for DoRA PATH.m, or with arrays of the model
  # itself.
  #
  #     {"fine_tune_type": "lora", "lora_parameters": {"rank": 8, "scale": 20.0}}

  alias Mlx.Array
  alias Mlx.LM.Adapter
  alias Mlx.LM.Adapter.Change
  alias Mlx.LM.Families.Fields

  @types ["lora", "dora", "full"]
  @parts %{"lora_a" => :a, "lora_b" => :b, "m" => :magnitude}

  @doc false
  @spec file() :: String.t()
  def file, do: "adapters.safetensors"

  @doc "What the tensors hold. `rename` gives the names that they have in the decoder."
  @spec content(%{String.t() => Array.t()}, Fields.t(), (String.t() -> String.t() | nil)) :: Adapter.content()
  def content(tensors, fields, rename) do
    case Fields.choice(fields, "fine_tune_type", @types, "lora") do
      "full" ->
        %{changes: %{}, replaced: for({name, array} <- tensors, into: %{}, do: {rename.(name) || name, array})}

      type ->
        settings = Fields.under(fields, "lora_parameters") || Fields.refuse(fields, "lora_parameters", "an object")
        scale = Fields.number(settings, "scale") * 1.0
        layers = tensors |> Enum.map(&part(&1, rename)) |> Enum.group_by(&elem(&1, 0), &Tuple.delete_at(&1, 0))
        %{changes: Map.new(layers, fn {path, parts} -> {path, change(path, parts, scale, type)} end), replaced: %{}}
    end
  end

  defp part({name, array}, rename) do
    {path, [last]} = name |> String.split(".") |> Enum.split(-1)
    part = @parts[last] || raise(Mlx.Error, message: "#{name} is no array of an adapter, expected lora_a, lora_b or m")
    path = Enum.join(path, ".")
    {rename.(path) || path, part, array}
  end

  defp change(path, parts, scale, type) do
    parts = Map.new(parts)
    wanted = if type == "dora", do: [:a, :b, :magnitude], else: [:a, :b]

    if Enum.sort(Map.keys(parts)) != wanted do
      given = Enum.map_join(@parts, ", ", fn {name, part} -> if(parts[part], do: name, else: "no #{name}") end)
      raise Mlx.Error, message: "#{path} has #{given}, expected those of the type #{type}"
    end

    struct!(Change, Map.put(parts, :scale, scale))
  end
end
