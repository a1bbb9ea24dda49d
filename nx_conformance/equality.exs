defmodule Mlx.NxConformance.Equality do
  @moduledoc """
  What `==` means in the tests of Nx and of libraries on it. They compare tensors as terms, to the last bit, which fits one
  backend only: here tensors are equal when their types, shapes and names are, and their numbers within a few units in the
  last place of the greatest of them. Numbers that were computed otherwise, such as sums in another order, differ by as
  much.
  """

  # Relative to the greatest number of a tensor.
  @tolerance %{16 => 0.01, 32 => 2.0e-6, 64 => 1.0e-14}
  @tolerance_of_halves 1.0e-3

  @doc """
  The code with this equality in place of `==`, but in guards and in numerical definitions, and in its doctests.
  """
  @spec rewrite(Macro.t()) :: Macro.t()
  def rewrite({:doctest, meta, arguments}) do
    quote line: meta[:line] || 0 do
      require Mlx.NxConformance.Doctests
      Mlx.NxConformance.Doctests.define(unquote_splicing(arguments))
    end
  end

  def rewrite({name, _, _} = code) when name in [:when, :defn, :defnp], do: code

  def rewrite({:==, meta, [left, right]}),
    do: {{:., meta, [__MODULE__, :equal?]}, meta, [rewrite(left), rewrite(right)]}

  def rewrite({name, meta, arguments}), do: {rewrite(name), meta, rewrite(arguments)}
  def rewrite({left, right}), do: {rewrite(left), rewrite(right)}
  def rewrite(list) when is_list(list), do: Enum.map(list, &rewrite/1)
  def rewrite(other), do: other

  @doc "Whether two terms are equal."
  @spec equal?(term(), term()) :: boolean()
  def equal?(%Nx.Tensor{} = left, %Nx.Tensor{} = right) do
    if concrete?(left) and concrete?(right) do
      description(left) == description(right) and close?(left, right)
    else
      left == right
    end
  end

  def equal?(%struct{} = left, %struct{} = right), do: equal?(Map.from_struct(left), Map.from_struct(right))

  def equal?(%{} = left, %{} = right) when not is_struct(left) and not is_struct(right) do
    map_size(left) == map_size(right) and
      Enum.all?(left, fn {key, value} -> is_map_key(right, key) and equal?(value, right[key]) end)
  end

  def equal?([a | left], [b | right]), do: equal?(a, b) and equal?(left, right)

  def equal?(left, right) when is_tuple(left) and is_tuple(right) do
    equal?(Tuple.to_list(left), Tuple.to_list(right))
  end

  def equal?(left, right), do: left == right

  defp concrete?(%{data: %struct{}}), do: struct in [Mlx.Backend, Nx.BinaryBackend]

  defp description(tensor), do: {tensor.type, tensor.shape, tensor.names, tensor.vectorized_axes}

  defp close?(left, right) do
    Nx.to_binary(left) == Nx.to_binary(right) or
      (Nx.Type.float?(left.type) and close_numbers?(left.type, numbers(left), numbers(right)))
  end

  @doc "Whether two texts of tensors are the same but for the last digits of their floating-point numbers."
  @spec same_text?(String.t(), String.t()) :: boolean()
  def same_text?(text, text), do: true

  def same_text?(left, right) do
    number = ~r/[-+]?\d+\.\d+(?:e[-+]?\d+)?/
    [left_numbers, right_numbers] = for text <- [left, right], do: text_numbers(number, text)

    Regex.replace(number, left, "+1.0") == Regex.replace(number, right, "+1.0") and
      close_numbers?(text_type(left), left_numbers, right_numbers)
  end

  defp text_numbers(number, text), do: for([digits] <- Regex.scan(number, text), do: String.to_float(digits))

  defp text_type(text) do
    case Regex.run(~r/\b(bf16|f16|f32|f64|c64)\b/, text) do
      [_, name] -> name |> String.to_existing_atom() |> Nx.Type.normalize!()
      nil -> {:f, 64}
    end
  end

  defp close_numbers?(type, left, right) do
    greatest = for(number <- left ++ right, is_number(number), do: abs(number)) |> Enum.max(fn -> 0 end)
    tolerance = tolerance(type) * greatest

    left
    |> Enum.zip(right)
    |> Enum.all?(fn {a, b} -> a == b or (is_number(a) and is_number(b) and abs(a - b) <= tolerance) end)
  end

  defp tolerance({:f, 16}), do: @tolerance_of_halves
  defp tolerance({:c, bits}), do: @tolerance[div(bits, 2)]
  defp tolerance({_, bits}), do: @tolerance[bits]

  # A complex number is two.
  defp numbers(tensor) do
    for number <- tensor |> Nx.devectorize() |> Nx.to_flat_list(), part <- parts(number), do: part
  end

  defp parts(%Complex{re: real, im: imaginary}), do: [real, imaginary]
  defp parts(number), do: [number]
end
