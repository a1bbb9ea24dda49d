defmodule Mlx.PreloadedLibrary do
  @moduledoc """
  Libraries that take the place of functions in another virtual machine, by `LD_PRELOAD`.
  """

  alias Mlx.NativeBuild

  @options ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]

  @doc """
  Compiles a source of this folder, in C or C++, into another folder with the compiler of the NIF. Returns the path of the
  library.
  """
  @spec compile!(String.t(), Path.t()) :: Path.t()
  def compile!(source, folder) do
    library = Path.join(folder, Path.rootname(source) <> ".so")
    language = if Path.extname(source) == ".c", do: "c", else: "c++"
    arguments = @options ++ ["-x", language, Path.join(__DIR__, source), "-o", library, "-ldl", "-lpthread"]
    {output, status} = System.cmd(NativeBuild.fetch!("CXX"), arguments, stderr_to_stdout: true)
    if status != 0, do: raise("#{source} could not be compiled: #{output}")
    library
  end
end
