defmodule Mlx.Distributed.Ports do
  @moduledoc false
  # Ports of this machine that nobody listens on.

  # Below those that systems give to connections, so that none of these takes one meanwhile.
  @range 20_000..31_999
  @most_attempts 1_000

  @doc "So many free ports. `function` is the name in errors."
  @spec free(pos_integer(), String.t()) :: [:inet.port_number()]
  def free(count, function) do
    ports =
      fn -> Enum.random(@range) end
      |> Stream.repeatedly()
      |> Stream.take(@most_attempts)
      |> Stream.uniq()
      |> Stream.filter(&free?/1)
      |> Enum.take(count)

    if length(ports) < count do
      raise Mlx.Error,
            "#{function}: found no #{count} free ports from #{@range.first} to #{@range.last} on this machine"
    end

    ports
  end

  defp free?(port) do
    with {:ok, socket} <- :gen_tcp.listen(port, []), do: :gen_tcp.close(socket) == :ok, else: (_ -> false)
  end
end
