defmodule Mlx.Transforms.Execution do
  @moduledoc false
  # Programs that depend on values: they run on a thread of their own, which sends messages to the process that waits.

  alias Mlx.{Array, Native}

  @typedoc "Functions of a program by their numbers. They take and return lists of arrays."
  @type functions :: %{non_neg_integer() => ([Array.t()] -> [Array.t()])}

  @doc "The results of an instruction for arrays that are not traced. `name` is the function in errors."
  @spec run(reference(), [Array.t()], String.t(), functions()) :: [Array.t()]
  def run(instruction, inputs, name, functions \\ %{}) do
    tag = make_ref()
    instruction |> Native.execute(inputs, tag) |> await(tag, name, functions)
  end

  defp await(execution, tag, name, functions) do
    receive do
      {^tag, :ok, results} ->
        results

      {^tag, :error, message} ->
        raise Mlx.Error, "#{name}: #{message}"

      {^tag, :call, function, arrays} ->
        Native.resume(execution, call_function(execution, tag, Map.fetch!(functions, function), arrays))
        await(execution, tag, name, functions)
    end
  end

  defp call_function(execution, tag, function, arrays) do
    function.(arrays)
  catch
    kind, reason ->
      Native.resume(execution, nil)
      receive(do: ({^tag, :error, _message} -> :ok))
      :erlang.raise(kind, reason, __STACKTRACE__)
  end
end
