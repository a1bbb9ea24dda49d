defmodule Mlx.CalledFunction do
  @moduledoc false
  # Which function errors name: the one that was called, in place of those that it is made of.

  @doc "Calls `fun`. Its errors that begin with the name of one of `parts` begin with `called`."
  @spec name(String.t(), [String.t()], (-> result)) :: result when result: term()
  def name(called, parts, fun) do
    fun.()
  rescue
    error in [ArgumentError, Mlx.Error] ->
      reraise %{error | message: renamed(error.message, called, parts)}, __STACKTRACE__
  end

  defp renamed(message, called, parts) do
    case String.split(message, ": ", parts: 2) do
      [part, text] -> if part in parts, do: "#{called}: #{text}", else: message
      [_no_name] -> message
    end
  end
end
