defmodule Mlx.PrintOptions do
  @moduledoc """
  How `inspect/2` shows the numbers of arrays.

  The option `:precision` is the number of digits after the decimal point. Without it a number has as many digits as
  tell it from the other numbers of its type.

      iex> x = Mlx.array([1 / 3, 2.0])
      iex> Mlx.PrintOptions.with_options([precision: 2], fn -> inspect(x) end)
      "#Mlx.Array<\\n  f32[2]\\n  [0.33, 2.00]\\n>"
      iex> inspect(x, custom_options: [precision: 2])
      "#Mlx.Array<\\n  f32[2]\\n  [0.33, 2.00]\\n>"

  The options of `inspect/2` come first, then those that the calling process has set. How many elements are shown is the
  option `:limit` of `inspect/2`, and how wide the lines are is its `:width`, 80 unless it is given.

  Python: `mlx.core.PrintOptions` and its `precision`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{Given, Options}

  @enforce_keys [:precision]
  defstruct [:precision]

  @type t :: %__MODULE__{precision: non_neg_integer() | nil}

  @doc """
  The options of the calling process.

      iex> Mlx.PrintOptions.get()
      %Mlx.PrintOptions{precision: nil}

  Python: `mlx.core.get_printoptions`.
  """
  @spec get() :: t()
  def get, do: Process.get(__MODULE__, %__MODULE__{precision: nil})

  @doc """
  Sets options for the calling process.

      iex> Mlx.PrintOptions.set(precision: 3)
      :ok
      iex> inspect(Mlx.array(0.5))
      "#Mlx.Array<\\n  f32\\n  0.500\\n>"

  Options: `:precision`, an integer that is not negative, or `nil` for as many digits as are needed.

  Python: `mlx.core.set_printoptions`.
  """
  @spec set(keyword()) :: :ok
  def set(options), do: set(options, :set)

  defp set(options, function) do
    function = :"PrintOptions.#{function}"
    [precision] = Options.without_stream(options, function, precision: get().precision)
    Process.put(__MODULE__, checked(precision, function))
    :ok
  end

  @doc """
  Calls a function while options are set for the calling process. The options are those of `set/1`.

      iex> Mlx.PrintOptions.with_options([precision: 1], fn -> inspect(Mlx.array(0.75)) end)
      "#Mlx.Array<\\n  f32\\n  0.8\\n>"
      iex> Mlx.PrintOptions.get().precision
      nil

  Python: `mlx.core.printoptions`.
  """
  @spec with_options(keyword(), (-> result)) :: result when result: var
  def with_options(options, fun) when is_function(fun, 0) do
    previous = get()
    set(options, :with_options)

    try do
      fun.()
    after
      Process.put(__MODULE__, previous)
    end
  end

  @doc false
  # The options for a call of `inspect/2`.
  @spec resolve(Inspect.Opts.t()) :: t()
  def resolve(%Inspect.Opts{custom_options: custom}) do
    case Keyword.fetch(custom, :precision) do
      {:ok, precision} -> checked(precision, :PrintOptions)
      :error -> get()
    end
  end

  defp checked(precision, _function) when is_nil(precision) or (is_integer(precision) and precision >= 0) do
    %__MODULE__{precision: precision}
  end

  defp checked(other, function) do
    raise ArgumentError,
          "Mlx.#{function}: expected :precision to be an integer that is not negative or nil, got: #{Given.text(other)}"
  end
end
