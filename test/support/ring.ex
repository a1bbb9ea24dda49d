defmodule Mlx.Ring do
  @moduledoc """
  Virtual machines on this machine that are joined to a ring, by MLX's environment or as the nodes of an Erlang cluster.
  """

  alias Mlx.ChildVM
  alias Mlx.Distributed.Ports

  @timeout 120_000

  @doc """
  Evaluates quoted code in each virtual machine, with `rank` and `group`. Returns what each printed, or how it ended when
  that was not with status 0.
  """
  @spec run(pos_integer(), Path.t(), Macro.t()) :: [String.t() | ChildVM.outcome()]
  def run(size, folder, code) do
    file = Path.join(folder, "hosts.json")
    File.write!(file, JSON.encode!(for port <- Ports.free(size, "Mlx.Ring.run"), do: ["127.0.0.1:#{port}"]))

    code =
      quote do
        var!(group) = Mlx.Distributed.init(backend: :ring, strict: true, timeout: 60_000)
        _ = var!(group)
        unquote(with_distributed(code))
      end

    in_parallel(for rank <- 0..(size - 1), do: {code, [{"MLX_HOSTFILE", file}, {"MLX_RANK", to_string(rank)}]})
  end

  @doc """
  The same for the nodes of an Erlang cluster: `code` runs in each with `nodes`, and makes the group itself.
  """
  @spec run_nodes(pos_integer(), Macro.t()) :: [String.t() | ChildVM.outcome()]
  def run_nodes(size, code) do
    start_epmd()
    number = System.unique_integer([:positive])
    nodes = for rank <- 0..(size - 1), do: :"mlx_#{System.pid()}_#{number}_#{rank}@127.0.0.1"

    in_parallel(
      for node <- nodes do
        code =
          quote do
            # Erlang warns on the standard output when one node leaves before another.
            :logger.set_primary_config(:level, :error)
            {:ok, _started} = Application.ensure_all_started(:mlx)
            {:ok, _pid} = Node.start(unquote(node), :longnames)
            Node.set_cookie(:mlx_ring)
            var!(nodes) = unquote(nodes)
            unquote(with_distributed(code))
          end

        {code, []}
      end
    )
  end

  # The process that knows the nodes of a machine. It starts once, and stays.
  defp start_epmd do
    epmd = Path.join([:code.root_dir(), "erts-#{:erlang.system_info(:version)}", "bin", "epmd"])
    {_output, 0} = System.cmd(if(File.exists?(epmd), do: epmd, else: "epmd"), ["-daemon"])
  end

  # The alias `Distributed` of a test means nothing in another virtual machine.
  defp with_distributed(code) do
    Macro.prewalk(code, fn
      {:__aliases__, meta, [:Distributed | rest]} -> {:__aliases__, meta, [:Mlx, :Distributed | rest]}
      other -> other
    end)
  end

  defp in_parallel(machines) do
    machines
    |> Enum.map(fn {code, env} -> Task.async(fn -> run_apart(code, env) end) end)
    |> Task.await_many(@timeout + 30_000)
  end

  # MLX tells about connections on the standard error, in pieces that fall between the lines that the code prints.
  defp run_apart(code, env) do
    file = Path.join(System.tmp_dir!(), "mlx_ring_#{System.pid()}_#{System.unique_integer([:positive])}")
    through = ["sh", "-c", ~S(errors=$1; shift; exec "$@" 2>"$errors"), "sh", file]

    try do
      case ChildVM.run(code, env: env, timeout: @timeout, through: through) do
        {:exit, 0, output} -> output
        {:exit, status, output} -> {:exit, status, output <> File.read!(file)}
        {:timeout, output} -> {:timeout, output <> File.read!(file)}
      end
    after
      File.rm(file)
    end
  end
end
