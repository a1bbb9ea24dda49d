defmodule Mlx.IO.Failure do
  @moduledoc false
  # What goes wrong with a file is raised without its path, and told here with it.

  @doc """
  Calls a function, and puts what was to be done, `Mlx.IO.load: cannot read a.npy`, before the message of the `Mlx.Error`
  or `File.Error` that it raises. The result is a `Mlx.Error` in UTF-8, whatever the path and the file are.
  """
  @spec about(String.t(), (-> result)) :: result when result: term()
  def about(what, fun) do
    fun.()
  rescue
    error in Mlx.Error -> raise_about(what, error.message, __STACKTRACE__)
    error in File.Error -> raise_about(what, :file.format_error(error.reason), __STACKTRACE__)
  end

  defp raise_about(what, message, stacktrace) do
    reraise Mlx.Error, String.replace_invalid("#{what}: #{message}"), stacktrace
  end
end
