defmodule Mlx.Conformance.Failure do
  @moduledoc """
  Exceptions of Elixir as those of Python.

  Python MLX raises what the C++ library throws: nearly always `ValueError`. `Mlx.Error` and `ArgumentError` are that, with
  these exceptions, which the message tells.
  """

  alias Mlx.Conformance.PythonError

  @kinds [
    IndexError:
      ~r/[Ii]nvalid axis|[Ii]nvalid axes -?\d+ for|[Aa]xis( -?\d+)? is out of bounds|is not an axis of|has the axis -?\d+/,
    OverflowError: ~r/integer of 32 bits|Shape dimension|outside the supported range/,
    RuntimeError: ~r/No such file|Failed to open|the header is damaged|is singular|singular matrix/
  ]

  @doc "The frame that tells Python of an exception."
  def to_python(%PythonError{kind: :raised, message: id}, _stacktrace), do: {:raised, id}
  def to_python(%PythonError{kind: kind, message: message}, _stacktrace), do: {:error, kind, message}

  def to_python(%kind{} = error, _stacktrace) when kind in [ArgumentError, Mlx.Error] do
    message = Exception.message(error)
    {:error, Enum.find_value(@kinds, :ValueError, fn {kind, pattern} -> message =~ pattern && kind end), message}
  end

  # The guards of a public function say what it takes; anything else is a mistake in the library or in the bridge.
  def to_python(error, stacktrace) do
    kind = if is_struct(error, FunctionClauseError), do: :TypeError, else: :SystemError
    {:error, kind, Exception.format(:error, error, stacktrace)}
  end
end
