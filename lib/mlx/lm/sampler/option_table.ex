defmodule Mlx.LM.Sampler.OptionTable do
  @moduledoc false
  # Tables of options, `name: {default, kind}`: those of a sampler and those of a generation. A kind says which values an
  # option takes, in code and in words:
  #
  #   | kind | takes |
  #   | --- | --- |
  #   | `{:number, low, high}` | a number from `low` to `high` |
  #   | `{:number_over, low, high}` | a number over `low` and up to `high` |
  #   | `{:integer, low, high}` | an integer from `low` to `high`, where `high` may be nil for no bound |
  #   | `:seed` | what `Mlx.Random.key/1` takes as a seed |
  #   | `:boolean` | true or false |
  #   | `{:one_of, atoms}` | one of them |
  #   | `:tokens` | a list of tokens |
  #   | `:strings` | a list of strings |
  #   | `:bias` | a map of tokens to numbers |
  #   | `{:function, arity}` | a function |
  #   | `{:functions, arity}` | a list of functions |
  #   | `{:struct, module}` | a struct |
  #   | `{:optional, kind}` | nil, too |
  #   | `{:either, kinds}` | what one of these takes |
  #   | `:any` | what somebody else checks |

  alias Mlx.Arguments.{ArgumentType, Given}

  @type kind :: atom() | tuple()
  @type t :: [{atom(), {default :: term(), kind()}}]

  @greatest_seed 0xFFFFFFFFFFFFFFFF

  # Tokens are elements of arrays of the type s32.
  @greatest_token 0x7FFFFFFF

  # The greatest number of an option. Its product with a logit, or with how often a token came, is a number of f32, too.
  @great 1.0e30

  @doc "The greatest number that a logit may be multiplied with."
  @spec great() :: float()
  def great, do: @great

  @doc "The options with their defaults."
  @spec defaults(t()) :: keyword()
  def defaults(table), do: for({name, {default, _kind}} <- table, do: {name, default})

  @doc "Raises `ArgumentError` where a value is not of the kind of its option. The message names no function."
  @spec check!(t(), keyword()) :: :ok
  def check!(table, options) do
    for {name, {_default, kind}} <- table, not of?(options[name], kind) do
      raise ArgumentError, "expected #{inspect(name)} to be #{words(kind)}, got: #{Given.text(options[name])}"
    end

    :ok
  end

  @doc "The options with their numbers as floats, after `check!/2`: MLX takes no integers of more than 64 bits."
  @spec with_floats(t(), keyword()) :: keyword()
  def with_floats(table, options) do
    for {name, value} <- options, do: {name, if(number?(table[name]), do: value * 1.0, else: value)}
  end

  defp number?({_default, kind}), do: is_tuple(kind) and elem(kind, 0) in [:number, :number_over]

  defp of?(value, {:number, low, high}), do: is_number(value) and value >= low and value <= high
  defp of?(value, {:number_over, low, high}), do: is_number(value) and value > low and value <= high
  defp of?(value, {:integer, low, nil}), do: is_integer(value) and value >= low
  defp of?(value, {:integer, low, high}), do: is_integer(value) and value in low..high
  defp of?(value, :seed), do: of?(value, {:integer, 0, @greatest_seed})
  defp of?(value, :boolean), do: is_boolean(value)
  defp of?(value, {:one_of, atoms}), do: value in atoms
  defp of?(value, :tokens), do: ArgumentType.list?(value) and Enum.all?(value, &token?/1)
  defp of?(value, :strings), do: ArgumentType.list?(value) and Enum.all?(value, &is_binary/1)
  defp of?(value, :bias), do: is_map(value) and not is_struct(value) and Enum.all?(value, &bias?/1)
  defp of?(value, {:function, arity}), do: is_function(value, arity)

  defp of?(value, {:functions, arity}),
    do: ArgumentType.list?(value) and Enum.all?(value, &is_function(&1, arity))

  defp of?(value, {:struct, module}), do: is_struct(value, module)
  defp of?(value, {:optional, kind}), do: value == nil or of?(value, kind)
  defp of?(value, {:either, kinds}), do: Enum.any?(kinds, &of?(value, &1))
  defp of?(_value, :any), do: true

  defp token?(token), do: of?(token, {:integer, 0, @greatest_token})
  defp bias?({token, number}), do: token?(token) and of?(number, {:number, -@great, @great})

  defp words({:number, low, high}), do: "a number from #{low} to #{high}"
  defp words({:number_over, low, high}), do: "a number over #{low} and up to #{high}"
  defp words({:integer, 1, nil}), do: "a positive integer"
  defp words({:integer, low, nil}), do: "an integer from #{low} on"
  defp words({:integer, low, high}), do: "an integer from #{low} to #{high}"
  defp words(:seed), do: "an integer from 0 to 2 ** 64 - 1"
  defp words(:boolean), do: "true or false"
  defp words({:one_of, atoms}), do: "one of #{Enum.map_join(atoms, ", ", &inspect/1)}"
  defp words(:tokens), do: "a list of tokens, which are integers from 0 on"
  defp words(:strings), do: "a list of strings"
  defp words(:bias), do: "a map of tokens to numbers from #{-@great} to #{@great}"
  defp words({:function, arity}), do: ArgumentType.function_words(arity)
  defp words({:functions, arity}), do: "a list of functions of #{arity} arguments"
  defp words({:struct, module}), do: "an #{inspect(module)}"
  defp words({:optional, kind}), do: "#{words(kind)}, or nil"
  defp words({:either, kinds}), do: Enum.map_join(kinds, ", or ", &words/1)
end
