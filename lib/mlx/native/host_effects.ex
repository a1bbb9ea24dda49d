defmodule Mlx.Native.HostEffects do
  @moduledoc false
  # What the native library does to the virtual machine that loads it, which can be left out:
  #
  #     config :mlx, malloc_thresholds: false, exit_handler: false
  #
  # Read once, when the library is loaded.

  @switches [:malloc_thresholds, :exit_handler]

  @doc "Whether each is wanted, in the form that the library takes; or what is wrong with the configuration."
  @spec wanted() :: {:ok, {boolean(), boolean()}} | {:error, String.t()}
  def wanted do
    values = for switch <- @switches, do: {switch, Application.get_env(:mlx, switch, true)}

    case Enum.find(values, fn {_switch, value} -> not is_boolean(value) end) do
      nil -> {:ok, values |> Keyword.values() |> List.to_tuple()}
      {switch, value} -> {:error, "config :mlx has #{switch}: #{inspect(value)}, expected true or false"}
    end
  end
end
