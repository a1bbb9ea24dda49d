defmodule Mlx.Conformance.PythonError do
  @moduledoc """
  An exception of Python: `:kind` is the name of its class. With the kind `:raised` it is one that a function of Python
  raised, and the message is its number.
  """
  defexception [:kind, :message]

  @impl true
  def message(error), do: "#{error.kind}: #{error.message}"

  @doc "Raises a `TypeError`, which Python raises where an argument has the wrong type."
  def type_error!(message), do: raise(__MODULE__, kind: :TypeError, message: message)

  @doc "Raises a `ValueError`."
  def value_error!(message), do: raise(__MODULE__, kind: :ValueError, message: message)
end
