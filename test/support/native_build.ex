defmodule Mlx.NativeBuild do
  @moduledoc false
  # What the native library was built with.

  @doc "A part of it: the folders `MLX_DIR`, `MLX_C_DIR` and `ERTS_INCLUDE_DIR`, and the compiler `CXX`."
  @spec fetch!(String.t()) :: Path.t()
  def fetch!(variable), do: Map.fetch!(toolchain(), variable)

  @doc "All of it, as environment variables."
  @spec toolchain() :: %{String.t() => String.t()}
  def toolchain do
    manifest = Path.join(Mix.Project.manifest_path(), "compile.mlx_native")
    (manifest |> File.read!() |> :erlang.binary_to_term()).toolchain
  end
end
