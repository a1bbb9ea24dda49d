defmodule Mlx.Arguments.OptionKinds do
  @moduledoc false
  # Options with a default and a kind, `name: {default, kind}`. A kind says which values an option takes, and in which words
  # an error tells it.

  alias Mlx.Array
  alias Mlx.Arguments.{ArgumentType, Given}
  alias Mlx.Distributed.Group

  @typedoc """
  A kind: one of the table by its name, a test with its words, one of some atoms, a tuple of two, or nil besides.
  """
  @type kind ::
          atom()
          | {(term() -> boolean()), String.t()}
          | {:one_of, [atom(), ...]}
          | {:optional, kind()}
          | {kind(), kind()}

  @type t :: [{atom(), {default :: term(), kind()}}]

  @most 2 ** 64 - 1

  # kind, whether a term is of it, in words
  @kinds [
    {:any, &__MODULE__.any?/1, "anything"},
    {:number, &is_number/1, "a number"},
    {:not_negative, &__MODULE__.not_negative?/1, "a number of at least 0"},
    {:positive, &__MODULE__.positive?/1, "a number above 0"},
    {:fraction, &__MODULE__.fraction?/1, "a number of at least 0 and below 1"},
    {:count, &__MODULE__.count?/1, "an integer of at least 0"},
    {:at_least_one, &__MODULE__.at_least_one?/1, "an integer of at least 1"},
    {:boolean, &is_boolean/1, "true or false"},
    {:rate, &__MODULE__.rate?/1, "a number, a scalar array, or a schedule, which is a function of the step"},
    {:seed, &__MODULE__.seed?/1, "an integer from 0 to 2 ** 64 - 1"},
    {:keywords, &Keyword.keyword?/1, "a keyword list"},
    {:io_device, &__MODULE__.io_device?/1, "an IO device"},
    {:group, &__MODULE__.group?/1, "a Mlx.Distributed.Group"},
    {:callbacks, &__MODULE__.callbacks?/1, "a list of functions of two arguments"}
  ]

  @doc "The defaults of options."
  @spec defaults(t()) :: keyword()
  def defaults(options), do: for({name, {default, _kind}} <- options, do: {name, default})

  @doc "Raises unless each value is of the kind of its option. The error begins with `function`, and calls the option by `called`."
  @spec check!(t(), keyword() | map(), String.t(), (atom() -> String.t())) :: :ok
  def check!(options, values, function, called \\ &inspect/1) do
    for {name, {_default, kind}} <- options do
      value = Access.fetch!(values, name)

      if not of?(value, kind) do
        raise ArgumentError, "#{function}expected #{called.(name)} to be #{words(kind)}, got: #{Given.text(value)}"
      end
    end

    :ok
  end

  @doc "Whether a value is of a kind."
  @spec of?(term(), kind()) :: boolean()
  def of?(value, {:optional, kind}), do: value == nil or of?(value, kind)
  def of?(value, {:one_of, atoms}), do: value in atoms
  def of?(value, {valid?, words}) when is_binary(words), do: valid?.(value)
  def of?({a, b}, {kind_a, kind_b}), do: of?(a, kind_a) and of?(b, kind_b)
  def of?(_value, {_kind_a, _kind_b}), do: false
  def of?(value, kind), do: kind |> kind!() |> elem(1) |> apply([value])

  @doc "What values of a kind are, in words."
  @spec words(kind()) :: String.t()
  def words({:optional, {:one_of, atoms}}), do: words({:one_of, atoms ++ [nil]})
  def words({:optional, kind}), do: "#{words(kind)}, or nil"
  def words({:one_of, [atom]}), do: "one of #{inspect(atom)}"

  def words({:one_of, atoms}) do
    {first, [last]} = Enum.split(atoms, -1)
    "#{Enum.map_join(first, ", ", &inspect/1)} or #{inspect(last)}"
  end

  def words({_valid?, words}) when is_binary(words), do: words
  def words({kind, kind}), do: "a tuple of two, each #{words(kind)}"
  def words({kind_a, kind_b}), do: "a tuple of #{words(kind_a)} and #{words(kind_b)}"
  def words(kind), do: kind |> kind!() |> elem(2)

  defp kind!(kind) do
    List.keyfind(@kinds, kind, 0) ||
      raise ArgumentError,
            "Mlx.Optimizers.PerParameter: expected an option to be of a kind such as :number, got: #{inspect(kind)}"
  end

  @doc false
  def any?(_term), do: true

  @doc false
  def not_negative?(term), do: is_number(term) and term >= 0

  @doc false
  def positive?(term), do: is_number(term) and term > 0

  @doc false
  def fraction?(term), do: not_negative?(term) and term < 1

  @doc false
  def count?(term), do: is_integer(term) and term >= 0

  @doc false
  def at_least_one?(term), do: is_integer(term) and term >= 1

  @doc false
  def rate?(term), do: is_number(term) or is_function(term, 1) or match?(%Array{shape: {}}, term)

  @doc false
  def seed?(term), do: is_integer(term) and term in 0..@most

  @doc false
  def io_device?(term), do: (is_atom(term) and term != nil) or is_pid(term)

  @doc false
  def group?(term), do: is_struct(term, Group)

  @doc false
  def callbacks?(term), do: ArgumentType.list?(term) and Enum.all?(term, &is_function(&1, 2))
end
