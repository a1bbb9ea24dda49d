defmodule Mlx.Description do
  @moduledoc """
  What the tests, `bin/conformance` and the guide "From Python to Elixir" know of an operation, said once.

  The files of `test/descriptions` have a row for each operation, by topic:

      operation(:searchsorted,
        python: python("searchsorted", sorted_sequence: :array, values: :array, side: option(:word, :side)),
        examples: [searchsorted: [[array({4}, :f32, :ones), array({3}), "left", nil]]],
        no_gradient: "gives no fractions",
        draw: &searchsorted/0
      )

  | field | what it says | who reads it |
  | --- | --- | --- |
  | `python` | Python's names and parameters, and a note (`python/3`) | the guide, `bin/conformance` |
  | `draw` | a function that draws the arguments of a call, and the same call in Python | `differential_test` |
  | `not_drawn` | why there is no `draw` | `differential_test` |
  | `without_options` | a call without options: `:array`, `:arrays`, `:list`, or a function | `differential_test` |
  | `ulps`, `of_largest`, `reason` | how far floating-point results may be apart, in units in the last place or as a share of the largest, and why | `differential_test` |
  | `refusals` | why Python raises for some calls that are right, which are not compared then | `differential_test` |
  | `share` | how many calls are drawn for one of another row | `differential_test` |
  | `no_gradient` | why it has no gradient | `transforms/gradient_test` |
  | `other_gradient` | why its gradient differs from Python's in some calls | `transforms/gradient_test` |
  | `not_mapped` | why `Mlx.vmap/2` of it is not compared | `transforms/mapping_test` |
  | `examples` | native calls that are valid, where arguments depend on each other | `native/generated_input_test` |
  | `kinds` | the kinds of their arguments, where the headers of mlx-c do not say them | `native/generated_input_test` |
  | `variant` | what tells rows of one operation apart | all |
  """

  @enforce_keys [:module, :function]
  defstruct [:module, :function, :variant, :draw, :not_drawn, :without_options, :of_largest, :reason, :refusals] ++
              [:no_gradient, :other_gradient, :not_mapped] ++
              [ulps: 0, share: 1, python: [], examples: [], kinds: []]

  defmacro __using__(options) do
    quote do
      import Mlx.Argument, only: [array: 1, array: 2, array: 3], warn: false
      import Mlx.Conformance.Parameters, except: [named: 1, options: 2, positional: 1], warn: false
      import Mlx.Description, only: [python: 2, python: 3]
      import Mlx.Differential.Draw

      alias Mlx.Differential.Python

      # The row of a function of this module.
      defp operation(function, fields), do: Mlx.Description.new(unquote(options[:of] || Mlx), function, fields)
    end
  end

  @doc "A description of a function."
  def new(module, function, fields) do
    {python, fields} = Keyword.pop(fields, :python, [])
    struct!(%__MODULE__{module: module, function: function, python: List.wrap(python)}, fields)
  end

  @doc """
  Names of Python with one meaning, without `mlx.core.` and with spaces between them, and their parameters
  (`Mlx.Conformance.Parameters`). A method of `array` has the parameters of the function of its name.

  Options: `adapter`, a function of `conformance/elixir/adapters` that makes the call where parameters are not enough;
  `note`, what the guide says; `elixir`, what the names are in Elixir, where it is not the function itself.
  """
  def python(names, parameters, options \\ []) do
    Map.merge(
      %{names: String.split(names), parameters: parameters, adapter: nil, note: "", elixir: nil},
      Map.new(options)
    )
  end

  @doc "The name of a description."
  def label(%__MODULE__{} = row), do: String.trim("#{inspect(row.module)}.#{row.function} #{row.variant}")
end
