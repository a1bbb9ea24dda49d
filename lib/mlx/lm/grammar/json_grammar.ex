defmodule Mlx.LM.Grammar.JSONGrammar do
  @moduledoc false
  # The rules of JSON (RFC 8259). Escapes of halves of characters come in pairs. Numbers are bounded, so that they are numbers
  # of 64 bits.

  alias Mlx.LM.Grammar.Expression

  @hex {:set, [{?0, ?9}, {?A, ?F}, {?a, ?f}]}
  @digit {:set, [{?0, ?9}]}

  @doc "The trees of all rules: `:value`, `:object`, `:array`, `:string`, `:number`, `:integer`, `:space`."
  @spec trees(:some | :none) :: %{atom() => Expression.t()}
  def trees(whitespace) do
    %{
      value:
        Expression.alt([
          {:ref, :object},
          {:ref, :array},
          {:ref, :string},
          {:ref, :number} | for(text <- ~w(true false null), do: {:bytes, text})
        ]),
      object: object([], pair({:ref, :string}, {:ref, :value})),
      array: array({:repeat, {:ref, :value}, 0, :infinity}),
      string: string({:repeat, character(), 0, :infinity}),
      number: Expression.seq([{:ref, :integer}, Expression.optional(fraction()), Expression.optional(exponent())]),
      integer: Expression.seq([Expression.optional({:bytes, "-"}), natural()]),
      space: space(whitespace)
    }
  end

  defp space(:none), do: Expression.empty()

  defp space(:some) do
    indented = Expression.seq([{:repeat, {:bytes, "\n"}, 1, 2}, {:repeat, {:set, [{?\t, ?\t}, {?\s, ?\s}]}, 0, 20}])
    Expression.alt([Expression.empty(), {:bytes, " "}, indented])
  end

  @doc "A natural number of at most 16 digits."
  @spec natural() :: Expression.t()
  def natural, do: Expression.alt([{:bytes, "0"}, Expression.seq([{:set, [{?1, ?9}]}, {:repeat, @digit, 0, 15}])])

  defp fraction, do: Expression.seq([{:bytes, "."}, {:repeat, @digit, 1, 16}])

  defp exponent,
    do:
      Expression.seq([
        {:set, [{?E, ?E}, {?e, ?e}]},
        Expression.optional({:set, [{?+, ?+}, {?-, ?-}]}),
        {:repeat, @digit, 1, 2}
      ])

  @doc "A string of these characters, as they are written."
  @spec string(Expression.t()) :: Expression.t()
  def string(characters), do: Expression.seq([{:bytes, "\""}, characters, {:bytes, "\""}])

  @doc "One character of a string, in any way in which JSON may write it. None is the beginning of another."
  @spec character() :: Expression.t()
  def character do
    d = fn ranges -> {:set, ranges} end

    below_surrogates = Expression.seq([d.([{?0, ?9}, {?A, ?C}, {?a, ?c}, {?E, ?F}, {?e, ?f}]), @hex, @hex, @hex])
    beside_surrogates = Expression.seq([d.([{?D, ?D}, {?d, ?d}]), d.([{?0, ?7}]), @hex, @hex])
    high = Expression.seq([d.([{?D, ?D}, {?d, ?d}]), d.([{?8, ?9}, {?A, ?B}, {?a, ?b}]), @hex, @hex])
    low = Expression.seq([d.([{?D, ?D}, {?d, ?d}]), d.([{?C, ?F}, {?c, ?f}]), @hex, @hex])
    pair = Expression.seq([high, {:bytes, "\\u"}, low])
    unicode = Expression.seq([{:bytes, "u"}, Expression.alt([below_surrogates, beside_surrogates, pair])])
    short = d.(for char <- ~c"\"\\/bfnrt", do: {char, char})

    Expression.alt([
      {:set, Expression.complement([{0, 0x1F}, {?", ?"}, {?\\, ?\\}])},
      Expression.seq([{:bytes, "\\"}, Expression.alt([short, unicode])])
    ])
  end

  @doc "A property: its name as JSON and its value."
  @spec pair(Expression.t(), Expression.t()) :: Expression.t()
  def pair(name, value), do: Expression.seq([name, {:ref, :space}, {:bytes, ":"}, {:ref, :space}, value])

  @doc "An object of these properties, each with whether it is required, and of any number of others."
  @spec object([{Expression.t(), boolean()}], Expression.t() | nil) :: Expression.t()
  def object(members, more) do
    inside = {:members, members, separator(), more}
    enclosed("{", "}", inside, more == nil and members == [])
  end

  @doc "An array of elements, which are a list of nodes of `separated/1`, or a repetition of one node."
  @spec array(Expression.t()) :: Expression.t()
  def array({:repeat, node, 0, :infinity}), do: enclosed("[", "]", {:members, [], separator(), node}, false)
  def array(inside), do: enclosed("[", "]", inside, inside == Expression.empty())

  # White space stands once where nothing is inside.
  defp enclosed(open, close, _inside, true), do: Expression.seq([{:bytes, open}, {:ref, :space}, {:bytes, close}])

  defp enclosed(open, close, inside, false) do
    filled = Expression.seq([{:ref, :space}, inside, {:ref, :space}])
    Expression.seq([{:bytes, open}, filled, {:bytes, close}])
  end

  @doc "A comma with white space around."
  @spec separator() :: Expression.t()
  def separator, do: Expression.seq([{:ref, :space}, {:bytes, ","}, {:ref, :space}])
end
