defmodule Mlx.Stress.Soak.Log do
  @moduledoc false
  # Counts what is logged as an error, in the place of writing it. That something was killed is no error here.

  @table __MODULE__

  @spec start() :: :ok
  def start do
    :ets.new(@table, [:named_table, :public])
    :logger.remove_handler(:default)
    :ok = :logger.add_handler(@table, __MODULE__, %{level: :error})
  end

  @doc "Ends the counting. Returns what was logged, and how often."
  @spec stop() :: [{String.t(), pos_integer()}]
  def stop do
    :logger.remove_handler(@table)
    :ets.tab2list(@table)
  end

  @doc false
  def log(%{msg: message}, _config) do
    text = text(message)
    if not (text =~ "killed"), do: :ets.update_counter(@table, String.slice(text, 0, 600), 1, {text, 0})
  end

  defp text({:string, text}), do: IO.chardata_to_string(text)
  defp text({:report, report}), do: inspect(report, limit: 30, printable_limit: 300)
  defp text({format, arguments}), do: format |> :io_lib.format(arguments) |> IO.chardata_to_string()
end
