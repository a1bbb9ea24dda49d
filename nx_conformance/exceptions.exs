defmodule Mlx.NxConformance.Exceptions do
  @moduledoc """
  The tests of a library that may fail with Mlx and not with Nx.BinaryBackend, in `exceptions/` a file for each library: on
  each line a file, a test, who fails it (the backend, the compiler, or both; with " gpu" or " cpu" after it on such a
  device alone) and a reason, with tabs between them.
  """

  @folder Path.join(__DIR__, "exceptions")

  @type t :: %{{Path.t(), String.t()} => String.t()}

  @doc "The reasons by file and test, for the backend or with the compiler. A library without a file has no exceptions."
  @spec read(atom(), String.t()) :: t()
  def read(application, who) do
    list = Path.join(@folder, "#{application}.tsv")

    for line <- if(File.exists?(list), do: File.stream!(list), else: []),
        [file, name, failing, reason] = line |> String.trim_trailing("\n") |> String.split("\t"),
        fails?(String.split(failing), who),
        into: %{},
        do: {{file, name}, reason}
  end

  defp fails?([failing], who), do: failing in ["both", who]
  defp fails?([failing, device], who), do: to_string(Mlx.Device.default()) == device and fails?([failing], who)

  @doc "Whether a test with this reason may pass too: one of random numbers, or of processes that run a race."
  @spec sometimes?(String.t()) :: boolean()
  def sometimes?(reason), do: String.starts_with?(reason, "sometimes: ")
end
