defmodule Mlx.DarwinStacks do
  @moduledoc """
  Threads on Linux as Darwin gives them, by the library `darwin_stacks.c`, which tells about them.

  Darwin's are smaller: what MLX does by recursion, or with large variables, may run on one and overflow it.
  """

  @source Path.join(__DIR__, "darwin_stacks.c")

  @doc "Why that cannot be had on this machine, or `nil`."
  @spec missing() :: String.t() | nil
  def missing do
    cond do
      :os.type() != {:unix, :linux} -> "the stacks of Darwin are made up on Linux only"
      not glibc?() -> "the default size of a stack is set in glibc's way"
      System.find_executable("cc") == nil -> "there is no C compiler named cc"
      true -> nil
    end
  end

  defp glibc?, do: List.to_string(:erlang.system_info(:system_architecture)) =~ "gnu"

  @doc "Compiles the library into the folder and returns its path, for `LD_PRELOAD`."
  @spec compile!(Path.t()) :: Path.t()
  def compile!(folder) do
    library = Path.join(folder, "darwin_stacks.so")
    arguments = ["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", @source, "-o", library, "-ldl", "-lpthread"]
    {output, status} = System.cmd("cc", arguments, stderr_to_stdout: true)
    if status != 0, do: raise("cc could not compile #{@source}: #{output}")
    library
  end
end
