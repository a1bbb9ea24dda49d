defmodule Mlx.Conformance.Files do
  @moduledoc """
  Adapters for loading and saving. Each of Python's functions has one format, and adds its extension to a path without it.
  """

  @doc "`load(file, format, return_metadata)`."
  def load(call, %{file: path, return_metadata: metadata}, options) do
    call.([path], if(metadata, do: [{:metadata, :arrays} | options], else: options))
  end

  @doc "`save(file, arr)`."
  def save(call, %{file: file, arr: array}, _options), do: write(call, file, array, format: :npy)

  @doc "`savez(file, *args, **kwargs)`: arrays without a name get one with their position."
  def save_several(compress) do
    fn call, %{file: file, args: arrays, kwargs: named}, _options ->
      numbered = for {array, position} <- Enum.with_index(arrays), into: %{}, do: {"arr_#{position}", array}
      write(call, file, Map.merge(numbered, named), format: :npz, compress: compress)
    end
  end

  @doc "`save_safetensors(file, arrays, metadata)` and `save_gguf(file, arrays, metadata)`."
  def save_with_metadata(format) do
    fn call, %{file: file, arrays: arrays, metadata: metadata}, _options ->
      write(call, file, arrays, format: format, metadata: metadata || %{})
    end
  end

  defp write(call, {:file, path}, content, options), do: call.([path, content], options)

  defp write(call, path, content, options) do
    extension = ".#{options[:format]}"
    call.([if(String.ends_with?(path, extension), do: path, else: path <> extension), content], options)
  end
end
