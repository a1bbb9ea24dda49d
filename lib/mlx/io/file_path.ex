defmodule Mlx.IO.FilePath do
  @moduledoc false
  # Paths as they are given to functions.

  alias Mlx.Arguments.Given

  @doc "The path that was given to a function of `Mlx`, as a string."
  @spec string!(term(), atom()) :: String.t()
  def string!(path, _function) when is_binary(path), do: path

  def string!(path, function) when is_list(path) do
    IO.chardata_to_string(path)
  rescue
    _error in [ArgumentError, UnicodeConversionError] -> no_path!(path, function)
  end

  def string!(path, function), do: no_path!(path, function)

  @spec no_path!(term(), atom()) :: no_return()
  defp no_path!(path, function) do
    raise ArgumentError, "Mlx.#{function}: expected a path, which is a string, got: #{Given.text(path)}"
  end
end
