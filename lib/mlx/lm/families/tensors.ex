defmodule Mlx.LM.Families.Tensors do
  @moduledoc "Changes of the tensors of a file that several families need."

  alias Mlx.LM.Family

  @kernel ~r/[._]conv(_?1d)?\.weight$/
  @expert ~r/^(.*)\.experts\.(\d+)\.(\w+)\.(weight|scales|biases|bias)$/

  @doc """
  The tensors with the matrices of experts, `PATH.experts.N.NAME.weight`, as one stack `PATH.switch_mlp.NAME.weight`, also
  for quantized ones and biases. `names` are other names of the three matrices.

      iex> tensors = for n <- 0..1, into: %{}, do: {"mlp.experts.\#{n}.w1.weight", Mlx.full({2, 3}, n)}
      iex> stacked = Mlx.LM.Families.Tensors.stack_experts(tensors, %{"w1" => "gate_proj"})
      iex> for {name, array} <- stacked, do: {name, array.shape}
      [{"mlp.switch_mlp.gate_proj.weight", {2, 2, 3}}]
  """
  @spec stack_experts(Family.tensors(), %{String.t() => String.t()}) :: Family.tensors()
  def stack_experts(tensors, names \\ %{}) do
    {experts, others} = Enum.split_with(tensors, fn {name, _array} -> name =~ @expert end)

    experts
    |> Enum.group_by(&stack(&1, names), fn {name, array} -> {expert(name), array} end)
    |> Map.new(fn {name, arrays} -> {name, arrays |> List.keysort(0) |> Enum.map(&elem(&1, 1)) |> Mlx.stack()} end)
    |> Map.merge(Map.new(others))
  end

  defp stack({name, _array}, names) do
    [_all, path, _expert, matrix, part] = Regex.run(@expert, name)
    "#{path}.switch_mlp.#{Map.get(names, matrix, matrix)}.#{part}"
  end

  defp expert(name), do: @expert |> Regex.run(name) |> Enum.at(2) |> String.to_integer()

  @doc """
  The tensors with kernels of convolutions over time, `conv1d.weight` and `conv.weight`, in the shape that they have here,
  `{features, kernel, 1}`. Hugging Face's files have `{features, 1, kernel}`.

      iex> tensors = %{"mamba.conv1d.weight" => Mlx.zeros({8, 1, 4})}
      iex> Mlx.LM.Families.Tensors.kernels(tensors)["mamba.conv1d.weight"].shape
      {8, 4, 1}
  """
  @spec kernels(Family.tensors()) :: Family.tensors()
  def kernels(tensors) do
    Map.new(tensors, fn {name, array} ->
      {name, if(name =~ @kernel and theirs?(array), do: Mlx.swap_axes(array, 1, 2), else: array)}
    end)
  end

  @doc "Whether kernels of convolutions over time have the shape that they have in Hugging Face's files."
  @spec their_kernels?(Family.tensors()) :: boolean()
  def their_kernels?(tensors), do: Enum.any?(tensors, fn {name, array} -> name =~ @kernel and theirs?(array) end)

  defp theirs?(%Mlx.Array{shape: shape}), do: match?({_features, 1, kernel} when kernel > 1, shape)

  @doc "Names for the stacks of matrices that some files have under `experts`."
  @spec stacked_names() :: [{String.t(), String.t()}]
  def stacked_names do
    for matrix <- ~w(gate_proj up_proj down_proj), do: {"mlp.experts.#{matrix}", "mlp.switch_mlp.#{matrix}"}
  end

  @doc """
  The stacks of matrices of an array `PATH.experts.gate_up_proj`, the gate and the other factor one after the other, or
  `PATH.experts.down_proj`, as they are in `PATH.switch_mlp`.
  """
  @spec stacks(String.t(), Mlx.Array.t()) :: [{String.t(), Mlx.Array.t()}]
  def stacks(name, array) do
    [path, matrix] = String.split(name, ".experts.")

    if matrix == "down_proj" do
      [{"#{path}.switch_mlp.down_proj.weight", array}]
    else
      [gate, up] = Mlx.split(array, 2, axis: -2)
      [{"#{path}.switch_mlp.gate_proj.weight", gate}, {"#{path}.switch_mlp.up_proj.weight", up}]
    end
  end

  @doc "The tensors with each one whose name matches replaced by the pairs that `fun.(name, array)` gives."
  @spec replace(Family.tensors(), Regex.t(), (String.t(), Mlx.Array.t() -> [{String.t(), Mlx.Array.t()}])) ::
          Family.tensors()
  def replace(tensors, pattern, fun) do
    for {name, array} <- tensors,
        pair <- if(name =~ pattern, do: fun.(name, array), else: [{name, array}]),
        into: %{},
        do: pair
  end
end
