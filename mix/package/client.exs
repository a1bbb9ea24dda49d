defmodule Mlx.Package.Client do
  @moduledoc false
  # The client of `Mlx.Hub`, with its proxies, certificates and locks, before the library is compiled: its sources are compiled
  # for the time of a download.

  @files for name <- ~w(error hub/settings hub/address hub/certificates hub/wire hub/connection hub/problem hub/lock),
             do: Path.expand("../../lib/mlx/#{name}.ex", __DIR__)

  @doc "Calls `fun` while the modules of the client are there."
  @spec with_modules((-> result)) :: result when result: term()
  def with_modules(fun) do
    for application <- [:crypto, :public_key, :ssl], do: {:ok, _started} = Application.ensure_all_started(application)
    if Code.ensure_loaded?(Mlx.Hub.Connection), do: fun.(), else: with_compiled(fun)
  end

  # They call modules that are not there, for what is not needed here; the compiler's warnings of that are not shown. The
  # modules are gone when the library itself is compiled, which would warn of defining them anew.
  defp with_compiled(fun) do
    {modules, _warnings} = Code.with_diagnostics(fn -> Enum.flat_map(@files, &Code.compile_file/1) end)

    try do
      fun.()
    after
      for {module, _code} <- modules do
        :code.purge(module)
        :code.delete(module)
        :code.purge(module)
      end
    end
  end
end
