defmodule Mlx.LM.Decoder.SwitchFeedForward do
  @moduledoc "The feed-forward layers of several experts, in three stacks of matrices, or in two when they are not gated."

  alias Mlx.Array
  alias Mlx.LM.Activation
  alias Mlx.LM.Decoder.SwitchLinear

  # From so many rows on they are sorted by their expert, so that the matrices of one are read together.
  @sorted_from 64

  @enforce_keys [:gate_proj, :up_proj, :down_proj, :activation]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "Layers with zeros for arrays."
  @spec new(pos_integer(), pos_integer(), pos_integer(), boolean(), String.t(), boolean()) :: t()
  def new(width, hidden, experts, bias, activation, gated \\ true) do
    %__MODULE__{
      gate_proj: if(gated, do: SwitchLinear.new(experts, width, hidden, bias)),
      up_proj: SwitchLinear.new(experts, width, hidden, bias),
      down_proj: SwitchLinear.new(experts, hidden, width, bias),
      activation: activation
    }
  end

  @doc false
  # The layers with each stack replaced by what a function of its name and the stack gives.
  @spec map(t(), (atom(), struct() -> struct())) :: t()
  def map(%__MODULE__{} = layer, fun) do
    for name <- [:gate_proj, :up_proj, :down_proj], stack = Map.fetch!(layer, name), reduce: layer do
      layer -> Map.put(layer, name, fun.(name, stack))
    end
  end

  @doc "The outputs `{batch, length, count, width}` of the `chosen` experts, `{batch, length, count}`, for `x`."
  @spec call(t(), Array.t(), Array.t()) :: Array.t()
  def call(%__MODULE__{} = layer, %Array{shape: {batch, length, width}} = x, %Array{shape: {_, _, count}} = chosen) do
    if batch * length * count < @sorted_from do
      x |> Mlx.reshape({batch, length, 1, 1, width}) |> experts(layer, chosen, false) |> Mlx.squeeze(axes: [-2])
    else
      chosen = Mlx.flatten(chosen)
      order = Mlx.argsort(chosen)
      rows = x |> Mlx.reshape({batch * length, 1, width}) |> Mlx.take(Mlx.floor_divide(order, count), axis: 0)
      y = experts(rows, layer, Mlx.take(chosen, order), true)
      y |> Mlx.take(Mlx.argsort(order), axis: 0) |> Mlx.reshape({batch, length, count, width})
    end
  end

  defp experts(x, %__MODULE__{gate_proj: nil} = layer, chosen, sorted) do
    switch(layer.down_proj, Activation.call(layer.activation, switch(layer.up_proj, x, chosen, sorted)), chosen, sorted)
  end

  defp experts(x, layer, chosen, sorted) do
    [gate, up] = for part <- [layer.gate_proj, layer.up_proj], do: switch(part, x, chosen, sorted)
    switch(layer.down_proj, Activation.gate(layer.activation, gate, up), chosen, sorted)
  end

  defp switch(%kind{} = part, x, chosen, sorted), do: kind.call(part, x, chosen, sorted)
end
