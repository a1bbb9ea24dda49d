defmodule Mlx.NativePrototypes do
  @moduledoc """
  What the headers of mlx-c say of the arguments of native functions: their kinds, in the order of the arguments.

  The C type and the name of an argument give its kind. A list (a pointer and a size) is one argument, and pointers to
  results are none.
  """

  @headers ~w(ops random linalg fft fast)

  # Of several rules for one type the first is used whose pattern fits the name of the argument.
  @rules [
    {"mlx_array", ~r/^key$/, :key},
    {"mlx_array?", ~r/^key$/, :key},
    {"mlx_array", ~r/indices$|^(start|targets|segments|offset)$/, :indices},
    {"mlx_array?", ~r/indices$/, :optional_indices},
    {"mlx_array", ~r/^mask$/, :mask},
    {"mlx_array", ~r//, :array},
    {"mlx_array?", ~r//, :optional_array},
    {"mlx_vector_array", ~r/^indices$/, :index_list},
    {"mlx_vector_array", ~r//, :arrays},
    {"mlx_stream", ~r//, :stream},
    {"mlx_dtype", ~r//, :type},
    {"mlx_fft_norm", ~r//, :norm},
    {"mlx_optional_int", ~r//, :optional_size},
    {"mlx_optional_float", ~r//, :optional_number},
    {"mlx_optional_dtype", ~r//, :optional_type},
    {"bool", ~r//, :flag},
    {"float", ~r//, :number},
    {"double", ~r//, :number},
    {"uint64_t", ~r//, :seed},
    {"size_t", ~r//, :offset},
    {"char*", ~r//, :text},
    {"int", ~r/^(axis\d?|start_axis|end_axis|source|destination)$/, :axis},
    {"int", ~r//, :size},
    {"int*", ~r/^ax[ei]s(_[ab])?$/, :axes},
    {"int*", ~r/^shape$/, :shape},
    {"int*", ~r/^strides$/, :strides},
    {"int*", ~r//, :sizes},
    {"int64_t*", ~r//, :strides}
  ]

  folder = Path.join([Mlx.NativeBuild.fetch!("MLX_C_DIR"), "include/mlx/c"])
  @external_resource Path.join(Mix.Project.manifest_path(), "compile.mlx_native")

  @prototypes for header <- @headers,
                  [_, name, arguments] <-
                    Regex.scan(~r/^int mlx_(\w+)\(([^;]*)\);/m, File.read!(Path.join(folder, header <> ".h"))),
                  into: %{},
                  do: {String.to_atom(name), arguments}

  @doc "The kinds of the arguments of the function that mlx-c has under this name, or `nil`."
  @spec kinds(atom()) :: [atom()] | nil
  def kinds(name) do
    if prototype = @prototypes[name] do
      arguments = prototype |> String.split(",") |> Enum.map(&argument/1)
      lengths = for {type, list} <- arguments, type in ["int*", "int64_t*"], do: list <> "_num"

      for {type, argument} <- arguments, type != :result, argument not in lengths, do: kind(type, argument)
    end
  end

  # The type and the name of an argument: `{"int*", "axes"}` for `const int* axes`.
  defp argument(text) do
    optional = if text =~ "may be null", do: "?", else: ""

    case text |> String.replace(~r{/\*.*\*/|\bconst\b}s, "") |> String.split() do
      ["mlx_" <> _ = type, name] -> {if(type =~ "*", do: :result, else: type <> optional), name}
      [type, name] -> {type, name}
    end
  end

  defp kind(type, name) do
    Enum.find_value(@rules, :unknown, fn {for_type, pattern, kind} -> (type == for_type and name =~ pattern) && kind end)
  end
end
