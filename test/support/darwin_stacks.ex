defmodule Mlx.DarwinStacks do
  @moduledoc """
  Threads on Linux as Darwin gives them, by the library `darwin_stacks.c`, which tells about them.

  Darwin's are smaller: what MLX does by recursion, or with large variables, may run on one and overflow it.
  """

  @doc "Why that cannot be had on this machine, or `nil`."
  @spec missing() :: String.t() | nil
  def missing do
    cond do
      :os.type() != {:unix, :linux} -> "the stacks of Darwin are made up on Linux only"
      not glibc?() -> "the default size of a stack is set in glibc's way"
      true -> nil
    end
  end

  defp glibc?, do: List.to_string(:erlang.system_info(:system_architecture)) =~ "gnu"

  @doc "Compiles the library into the folder and returns its path, for `LD_PRELOAD`."
  @spec compile!(Path.t()) :: Path.t()
  def compile!(folder), do: Mlx.PreloadedLibrary.compile!("darwin_stacks.c", folder)
end
