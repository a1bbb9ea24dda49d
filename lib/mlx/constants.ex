defmodule Mlx.Constants do
  @moduledoc """
  Numbers with a name.

  Infinities and NaN are the atoms `:infinity`, `:neg_infinity` and `:nan`, which every function takes for a number; the
  limits of types are functions of `Mlx.Type`.
  """

  # name, value, what it is
  @constants [
    {:pi, 3.141592653589793, "The circumference of a circle divided by its diameter."},
    {:e, 2.718281828459045, "The base of the natural logarithm."},
    {:euler_gamma, 0.5772156649015329,
     "Euler's constant: how much the harmonic series exceeds the natural logarithm in the end."}
  ]

  for {name, value, text} <- @constants do
    @doc """
    #{text}

        iex> Mlx.Constants.#{name}()
        #{value}

    Python: `mlx.core.#{name}`.
    """
    @spec unquote(name)() :: float()
    def unquote(name)(), do: unquote(value)
  end
end
