defmodule Mlx.Conformance.Call do
  @moduledoc """
  Runs one call of Python: looks its signature up, binds the arguments, and calls the function of `Mlx`.
  """

  alias Mlx.Conformance.{Arguments, Mapping, PythonError, Signatures, Value}

  @doc "The result of the function that a Python name stands for."
  def run(name, arguments, options) do
    arguments = Value.from_python(arguments)
    options = Value.from_python(options)

    {bound, parameters, adapter} =
      case Signatures.fetch(name) do
        [] -> raise PythonError, kind: :NotImplementedError, message: "#{name} has no signature in the bridge"
        signatures -> choose(signatures, name, arguments, options)
      end

    apply_adapter(adapter, Mapping.function(name), bound, parameters, name)
  end

  defp choose([{parameters, adapter} | others], name, arguments, options) do
    {Arguments.bind(name, parameters, arguments, options), parameters, adapter}
  rescue
    error in PythonError ->
      if others == [], do: reraise(error, __STACKTRACE__), else: choose(others, name, arguments, options)
  end

  defp apply_adapter(nil, function, bound, parameters, name) do
    call(function, name).(Arguments.positional(bound, parameters), Arguments.options(bound, parameters))
  end

  defp apply_adapter(adapter, function, bound, parameters, name) when is_function(adapter, 3) do
    adapter.(call(function, name), bound, Arguments.options(bound, parameters))
  end

  defp call({module, name}, _python) do
    fn
      arguments, [] -> apply(module, name, arguments)
      arguments, options -> apply(module, name, arguments ++ [options])
    end
  end

  defp call(nil, python) do
    fn _arguments, _options ->
      raise PythonError, kind: :NotImplementedError, message: "#{python} has no counterpart in the mapping table"
    end
  end
end
