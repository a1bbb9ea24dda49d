defmodule Mlx.Arguments.CalledFunction do
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

  @doc "Calls `fun`, which calls no function of the user. All its errors begin with `called`, also those without a name."
  @spec name(String.t(), (-> result)) :: result when result: term()
  def name(called, fun) do
    fun.()
  rescue
    error in [ArgumentError, Mlx.Error] ->
      message = String.replace(error.message, ~r/^(Mlx(\.\w+)+[?!]?: )?/, "#{called}: ", global: false)
      reraise %{error | message: message}, __STACKTRACE__
  end
end
