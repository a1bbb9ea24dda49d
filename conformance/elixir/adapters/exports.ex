defmodule Mlx.Conformance.Exports do
  @moduledoc """
  Adapters for functions in files, and for descriptions of functions and graphs.

  Python gives the arrays of a call as arguments, in one list or tuple, in a dictionary, or in both.
  """

  import Mlx.Conformance.PythonError, only: [value_error!: 1]
  import Mlx.Conformance.Transforms, only: [container: 1]

  alias Mlx.Array
  alias Mlx.Arguments.Arity

  @doc "`export_function(file_or_callback, fun, *args, shapeless, metadata, **kwargs)`."
  def export(call, %{file_or_callback: path} = bound, options) when is_binary(path) do
    {fun, arguments} = example(bound.fun, bound.args, bound.kwargs)
    call.([path, fun, arguments], options)
  end

  def export(_call, %{file_or_callback: callback} = bound, options) do
    if options[:metadata] not in [nil, ""], do: value_error!("there is no metadata without a file")
    {fun, arguments} = example(bound.fun, bound.args, bound.kwargs)
    description = Mlx.describe_function(fun, arguments, Keyword.delete(options, :metadata))
    for part <- parts(description), do: callback.([part], %{})
    nil
  end

  # What Python's callback is called with, one after another.
  defp parts(description) do
    [
      %{type: "inputs", inputs: description.inputs},
      %{type: "keyword_inputs", keywords: Enum.to_list(description.keywords)},
      %{type: "outputs", outputs: description.outputs},
      %{type: "constants", constants: Enum.to_list(description.constants)}
      | Enum.map(description.operations, &Map.put(&1, :type, "primitive"))
    ]
  end

  @doc "`exporter(file, fun, shapeless, metadata)`, with all calls that were made of it, each a list and a map."
  def export_several(call, %{file: path, fun: fun, calls: calls}, options) do
    examples = for {:tuple, [arguments, keywords]} <- calls, do: example(fun, arguments, keywords)
    call.([path, examples], options)
  end

  # The function as one of `Mlx`, with the arguments of a call.
  defp example(fun, arguments, keywords) do
    {arrays, keywords} = inputs!(container(arguments), container(keywords))
    count = length(arrays)

    function =
      Arity.function(count + min(length(keywords), 1), fn arguments ->
        {arrays, keywords} = Enum.split(arguments, count)
        fun.(arrays, keywords |> List.flatten() |> Map.new(fn {name, array} -> {Atom.to_string(name), array} end))
      end)

    {function, arrays ++ keywords}
  end

  @doc "`import_function(file, return_metadata)`."
  def import(call, %{file: path, return_metadata: with_metadata}, _options) do
    {imported, metadata} = call.([path], metadata: true)

    function = fn arguments, keywords ->
      {arrays, keywords} = inputs!(arguments, keywords)
      (arrays ++ keywords) |> imported.() |> List.to_tuple()
    end

    if with_metadata, do: {function, metadata}, else: function
  end

  @doc "`export_to_dot(file, *args, **kwargs)`, which returns the text here."
  def graph(call, %{args: arrays, kwargs: named}, _options) do
    call.([container(arrays)], names: keywords!(named))
  end

  defp inputs!([], keywords), do: {[], keywords!(keywords)}
  defp inputs!([%Array{} | _] = arrays, keywords), do: {arrays!(arrays), keywords!(keywords)}
  defp inputs!([arrays], none) when not is_map(arrays) and none == %{}, do: {arrays!(arrays), []}
  defp inputs!([keywords], none) when none == %{}, do: {[], keywords!(keywords)}
  defp inputs!([arrays, keywords], none) when none == %{}, do: {arrays!(arrays), keywords!(keywords)}
  defp inputs!(_arguments, _keywords), do: no_inputs!()

  defp arrays!(tuple) when is_tuple(tuple), do: tuple |> Tuple.to_list() |> arrays!()

  defp arrays!(arrays) do
    if is_list(arrays) and Enum.all?(arrays, &is_struct(&1, Array)), do: arrays, else: no_inputs!()
  end

  defp keywords!(keywords) do
    if not (is_map(keywords) and Enum.all?(keywords, &match?({_name, %Array{}}, &1))), do: no_inputs!()
    Enum.map(keywords, fn {name, array} -> {String.to_atom(name), array} end)
  end

  defp no_inputs! do
    value_error!(
      "expected arrays as arguments and keyword arguments, or a list of arrays, a dictionary of arrays, or both"
    )
  end
end
