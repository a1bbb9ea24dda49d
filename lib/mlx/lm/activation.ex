defmodule Mlx.LM.Activation do
  @moduledoc false
  # Activations by the names that configurations have for them.

  alias Mlx.Array
  alias Mlx.NN.Activations
  alias Mlx.Transforms.FusedFunction

  @functions %{
    "silu" => &Activations.silu/1,
    "swish" => &Activations.silu/1,
    "gelu" => &Activations.gelu/1,
    "gelu_new" => &Activations.gelu_approx/1,
    "gelu_pytorch_tanh" => &Activations.gelu_approx/1,
    "gelu_fast" => &Activations.gelu_approx/1,
    "quick_gelu" => &Activations.gelu_fast_approx/1,
    "relu" => &Activations.relu/1,
    "relu2" => &Activations.relu2/1,
    "tanh" => &Activations.tanh/1
  }

  @limit 7.0
  @slope 1.702

  @doc "The names."
  @spec names() :: [String.t()]
  def names, do: Map.keys(@functions)

  @doc "The activation of an array."
  @spec call(String.t(), Array.t()) :: Array.t()
  def call(name, x), do: FusedFunction.call({__MODULE__, name}, &activated(name, &1), [x])

  defp activated("silu", x), do: x |> Mlx.sigmoid() |> Mlx.multiply(x)
  defp activated(name, x), do: Map.fetch!(@functions, name).(x)

  @doc """
  The product of the activated gate and another array. The one of `"clipped_swiglu"` bounds both, and adds 1 to the other;
  that of `{"clipped_swiglu", limit}` is the same with another bound; that of `{"limited_silu", limit}` bounds the gate from
  above and the other on both sides; that of `{"bounded_silu", limit}` bounds the activated gate and the other; that of
  `{"situ", {limit, other}}` goes softly towards a bound of each, of which the other's may be `nil`; that of
  `{"greatest_gelu", deviations}` takes what gates are more than so many standard deviations above their mean.
  """
  @spec gate(String.t() | {String.t(), number() | {number(), number() | nil}}, Array.t(), Array.t()) :: Array.t()
  # The mean of gates depends on how many there are.
  def gate({"greatest_gelu", _deviations} = name, gate, up), do: gated(name, gate, up)
  def gate(name, gate, up), do: FusedFunction.call({__MODULE__, :gate, name}, &gated(name, &1, &2), [gate, up])

  defp gated("clipped_swiglu", gate, up), do: gated({"clipped_swiglu", @limit}, gate, up)

  defp gated({"clipped_swiglu", limit}, gate, up) do
    gate = Mlx.min(gate, limit)
    up = up |> Mlx.clip(-limit, limit) |> Mlx.add(1)
    Mlx.multiply(up, Mlx.multiply(gate, Mlx.sigmoid(Mlx.multiply(gate, @slope))))
  end

  defp gated({"limited_silu", limit}, gate, up) do
    Mlx.multiply(activated("silu", Mlx.min(gate, limit)), Mlx.clip(up, -limit, limit))
  end

  defp gated({"bounded_silu", limit}, gate, up) do
    Mlx.multiply(Mlx.min(activated("silu", gate), limit), Mlx.clip(up, -limit, limit))
  end

  defp gated({"situ", {limit, other}}, gate, %Array{type: type} = up) do
    [gate, up] = for x <- [gate, up], do: Mlx.as_type(x, :f32)
    activated = gate |> toward(limit) |> Mlx.multiply(Mlx.sigmoid(gate))
    Mlx.as_type(Mlx.multiply(activated, if(other, do: toward(up, other), else: up)), type)
  end

  defp gated({"greatest_gelu", deviations}, gate, up) do
    mean = Mlx.mean(gate, axes: [-1], keep_axes: true)
    deviation = Mlx.standard_deviation(gate, axes: [-1], keep_axes: true)
    above = Mlx.subtract(gate, Mlx.add(mean, Mlx.multiply(deviation, deviations)))
    Mlx.multiply(Activations.gelu_approx(Mlx.max(above, 0)), up)
  end

  defp gated(name, gate, up), do: Mlx.multiply(activated(name, gate), up)

  defp toward(x, limit), do: x |> Mlx.divide(limit) |> Mlx.tanh() |> Mlx.multiply(limit)
end
