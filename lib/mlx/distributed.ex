defmodule Mlx.Distributed do
  @moduledoc """
  Computing in several processes of the operating system, on one machine or several, that exchange arrays.

  Every process runs the same program, and `init/1` tells it which one it is: its rank. A process that was not started as
  one of several is a group by itself. `all_sum/2` and its like then give the array itself, so that a program written for
  several processes runs in one as well.

      iex> group = Mlx.Distributed.init()
      iex> Mlx.Distributed.all_sum(Mlx.array([1, 2]), group: group) |> Mlx.divide(group.size) |> Mlx.to_list()
      [1.0, 2.0]

  ## Starting the processes

  `mix mlx.launch -n 2 program.exs` starts a program twice on one machine.

  The nodes of an Erlang cluster are a group when each of them calls `init/1` with the same list:

      group = Mlx.Distributed.init(nodes: [:"a@10.0.0.1", :"b@10.0.0.2"])

  Erlang's distribution says who is there, and hands out addresses and free ports. The arrays go from neighbour to
  neighbour by sockets of MLX, for which it takes ports from 20,000 to 31,999. Nothing encrypts them, and no cookie protects
  them.

  Otherwise it is the environment that tells MLX, the one that the virtual machine was started with; `System.put_env/2`
  comes too late. For the backend `:ring` it is a file `hosts.json` with the addresses of each rank

      [["10.0.0.1:5000"], ["10.0.0.2:5000"]]

  and one command on each host:

      MLX_HOSTFILE=hosts.json MLX_RANK=0 mix run program.exs
      MLX_HOSTFILE=hosts.json MLX_RANK=1 mix run program.exs

  ## Backends

    * `:ring` - TCP sockets, each process with its two neighbours; `send/3` and `recv/4` reach only these. Environment:
      `MLX_HOSTFILE` and `MLX_RANK`
    * `:nccl` - NVIDIA GPUs, where MLX was built for CUDA. Environment: `NCCL_HOST_IP`, `NCCL_PORT`, `MLX_RANK` and
      `MLX_WORLD_SIZE`
    * `:mpi` - Open MPI, for a program that `mpirun` started
    * `:jaccl` - RDMA over Thunderbolt, on macOS

  ## Waiting

  All processes have to call the same operations in the same order, with the same shapes and types. Unlike other
  operations these are not lazy: a call computes its array, and returns when the exchange is done. It keeps a dirty
  scheduler meanwhile, and calls of several Elixir processes come one after the other. There is no limit for how long a call
  waits for the other processes unless `:timeout` gives one, in milliseconds; an `Mlx.Error` is raised when it is over.
  The exchange itself cannot be taken back: if the others come later, it still takes place, without its result.

  When another process ends, the operations of the ring that wait for it raise an `Mlx.Error`, and so do all later ones:
  MLX cannot make a new connection, and the virtual machines have to be started again. Everything else goes on working.
  MLX may miss the end of a process while it exchanges arrays of over a megabyte in both directions; for that a
  `:timeout` is needed. The nodes of an Erlang cluster need none, since Erlang tells of the end of a node. With `:mpi` and
  `:nccl` the end of one process ends the others, virtual machine and all.

  ## In gradients and compiled functions

  `all_sum/2`, `all_max/2`, `all_min/2`, `all_gather/2` and `sum_scatter/2` may be called in functions for `Mlx.grad/2`,
  `Mlx.compile/2` and the other transforms, except for `Mlx.vmap/2`. Arrays are exchanged when the function runs, not while
  it is recorded, so that a result has no value to read there. A call of such a function computes its results before it
  returns. Of a compiled function, MLX compiles what is between the exchanges; of a gradient with exchanges in its inside
  it compiles nothing.

  For derivatives all processes compute the same value. The cotangent of what they have in common is then the same in all
  of them, and goes back as it is through `all_sum/2`. The same holds for `all_max/2` and `all_min/2`, as in Python.
  """

  use Mlx.Arguments.Mismatch

  import Kernel, except: [send: 2]

  alias Mlx.{Array, Native, Type}
  alias Mlx.Arguments.{CalledFunction, Options, Sizes}
  alias Mlx.Distributed.{Cluster, Collective, Group}

  @type backend :: :any | :ring | :mpi | :nccl | :jaccl

  @backends [:any, :ring, :mpi, :nccl, :jaccl]
  @retry_after 1

  # How long nodes wait for each other, in milliseconds.
  @meeting 10_000

  @doc """
  Whether MLX was built with a backend, and finds the library that it needs.

      iex> Mlx.Distributed.available?(:ring)
      true

  Python: `mlx.core.distributed.is_available`.
  """
  @spec available?(backend()) :: boolean()
  def available?(backend \\ :any), do: backend |> check_backend(:available?) |> Native.distributed_is_available()

  @doc """
  Connects this process with the others of its group, and returns the group. Later calls return the same group.

  Options:

    * `:backend` - one of #{Enum.map_join(@backends, ", ", &"`#{inspect(&1)}`")}. The default `:any` takes the first for
      which this process was started: NCCL, the ring, MPI, JACCL
    * `:strict` - raise an `Mlx.Error` rather than return a group of one process; default false
    * `:timeout` - how many milliseconds to wait for the others, default `:infinity`, and #{@meeting} with `:nodes`.
      Without `:nodes` a later call goes on waiting
    * `:nodes` - the nodes of an Erlang cluster that are the group, in the order of their ranks, this one among them. All of
      them call `init/1` with the same list. The backend is the ring. From then on this is the group that `init/0` returns
    * `:address` - with `:nodes`: the address of this node by which the node before it in the list reaches it, such as
      `"10.0.0.1"`. The default is the one by which Erlang's distribution reaches it

  Raises `Mlx.Error` with `:nodes` when one of them cannot be reached, has not started the application `:mlx`, did not call
  `init/1` in time, or called it with other nodes. A virtual machine can be in one ring in its life.

  Examples:

      iex> Mlx.Distributed.init()
      #Mlx.Distributed.Group<rank 0 of 1>

  Python: `mlx.core.distributed.init`.
  """
  @spec init(keyword()) :: Group.t()
  def init(options \\ []) do
    defaults = [backend: :any, strict: false, timeout: nil, nodes: nil, address: nil]
    [backend, strict, timeout, nodes, address] = Options.without_stream(options, :"Distributed.init", defaults)
    check_backend(backend, :init)

    cond do
      nodes == nil and address == nil ->
        Group.wrap(Native.distributed_init(strict, backend, check_timeout(timeout || :infinity, :init)))

      backend not in [:any, :ring] ->
        raise ArgumentError,
              "Mlx.Distributed.init: expected the backend :ring with the option :nodes, got: #{inspect(backend)}"

      true ->
        Cluster.join(nodes, address, check_timeout(timeout || @meeting, :init) || :infinity)
    end
  end

  @doc """
  Splits a group: the processes that give the same `color` are a group, in the order of their `key`.

  `color` is an integer that is not negative. A `key` of -1 stands for the rank. Only `:mpi` and `:nccl` can do this;
  others raise an `Mlx.Error`.

      iex> Mlx.Distributed.split(Mlx.Distributed.init(), 0)
      ** (Mlx.Error) Mlx.Distributed.split: a group of one process cannot be split

  Python: `mlx.core.distributed.Group.split`.
  """
  @spec split(Group.t(), non_neg_integer(), integer()) :: Group.t()
  def split(group, color, key \\ -1)

  def split(%Group{ref: ref}, color, key) do
    Group.wrap(in_turn(nil, :split, fn _timeout -> Native.distributed_group_split(ref, color, key) end))
  end

  for {name, does, python} <- [
        {:all_sum, "The sum of the arrays of all processes, element by element.", "all_sum"},
        {:all_max, "The largest of each element among the arrays of all processes.", "all_max"},
        {:all_min, "The smallest of each element among the arrays of all processes.", "all_min"}
      ] do
    @doc """
    #{does}

    Each process gives an array of the same shape and type, and all get the result, which is like them.

    Options:

      * `:group` - default `init()`
      * `:timeout` - in milliseconds, default `:infinity`

    Examples:

        iex> Mlx.Distributed.#{name}(Mlx.array([1.0, 2.0])) |> Mlx.to_list()
        [1.0, 2.0]

    Python: `mlx.core.distributed.#{python}`.
    """
    @spec unquote(name)(Array.operand(), keyword()) :: Array.t()
    def unquote(name)(x, options \\ []), do: collect(x, unquote(name), options)
  end

  @doc """
  The arrays of all processes, joined along their first axis in the order of the ranks.

  Arrays of shape `{n, ...}` give one of `{size * n, ...}`, and 0-d arrays one of `{size}`. A group of one process gives
  the array itself.

  Options:

    * `:group` - default `init()`
    * `:timeout` - in milliseconds, default `:infinity`

  Examples:

      iex> Mlx.Distributed.all_gather(Mlx.array([[1, 2]])) |> Mlx.to_list()
      [[1, 2]]

  Python: `mlx.core.distributed.all_gather`.
  """
  @spec all_gather(Array.operand(), keyword()) :: Array.t()
  def all_gather(x, options \\ []), do: collect(x, :all_gather, options)

  @doc """
  The sum of the arrays of all processes, cut along its first axis: each process gets the part that its rank says.

  Arrays of shape `{n, ...}` give parts of `{n / size, ...}`. A group of one process gives the array itself. `:nccl` and
  `:jaccl` send each process only its part; the others send the sum. Raises `ArgumentError` where `n` cannot be divided by
  the size.

  Options:

    * `:group` - default `init()`
    * `:timeout` - in milliseconds, default `:infinity`

  Examples:

      iex> Mlx.Distributed.sum_scatter(Mlx.array([1, 2])) |> Mlx.to_list()
      [1, 2]

  Python: `mlx.core.distributed.sum_scatter`.
  """
  @spec sum_scatter(Array.operand(), keyword()) :: Array.t()
  def sum_scatter(x, options \\ []), do: collect(x, :sum_scatter, options)

  @doc """
  Sends an array to the process of rank `destination`, which has to receive it. Returns the array.

  Options:

    * `:group` - default `init()`
    * `:timeout` - in milliseconds, default `:infinity`

  Examples:

      iex> Mlx.Distributed.send(Mlx.array([1, 2]), 1)
      ** (Mlx.Error) Mlx.Distributed.send: a group of one process has nobody to send to or to receive from

  Python: `mlx.core.distributed.send`.
  """
  @spec send(Array.operand(), non_neg_integer(), keyword()) :: Array.t()
  def send(x, destination, options \\ []) do
    {%Group{ref: ref}, timeout} = group_and_timeout(options, :send)
    x = operand(x, :send)
    in_turn(timeout, :send, &Native.distributed_send(x, destination, ref, &1))
  end

  @doc """
  Receives an array of a shape and type, which the process of rank `source` has to send.

  Options:

    * `:group` - default `init()`
    * `:timeout` - in milliseconds, default `:infinity`

  Examples:

      iex> Mlx.Distributed.recv({2}, :s32, 1)
      ** (Mlx.Error) Mlx.Distributed.recv: a group of one process has nobody to send to or to receive from

  Python: `mlx.core.distributed.recv`.
  """
  @spec recv(Array.sizes(), Type.t(), non_neg_integer(), keyword()) :: Array.t()
  def recv(shape, type, source, options \\ []) do
    shape = Sizes.shape!(shape, :"Distributed.recv")
    {%Group{ref: ref}, timeout} = group_and_timeout(options, :recv)
    in_turn(timeout, :recv, &Native.distributed_recv(shape, type, source, ref, &1))
  end

  @doc """
  As `recv/4`, with the shape and type of `x`.

      iex> Mlx.Distributed.recv_like(Mlx.zeros({2}), 1)
      ** (Mlx.Error) Mlx.Distributed.recv_like: a group of one process has nobody to send to or to receive from

  Python: `mlx.core.distributed.recv_like`.
  """
  @spec recv_like(Array.t(), non_neg_integer(), keyword()) :: Array.t()
  def recv_like(x, source, options \\ [])

  def recv_like(%Array{} = x, source, options) do
    {%Group{ref: ref}, timeout} = group_and_timeout(options, :recv_like)
    in_turn(timeout, :recv_like, &Native.distributed_recv_like(x, source, ref, &1))
  end

  @natives %{
    all_sum: :distributed_all_sum,
    all_max: :distributed_all_max,
    all_min: :distributed_all_min,
    all_gather: :distributed_all_gather,
    sum_scatter: :distributed_sum_scatter
  }

  defp collect(x, function, options) do
    {group, timeout} = group_and_timeout(options, function)
    x = operand(x, function)

    cond do
      group.size == 1 -> x
      Native.is_traced([x]) -> Collective.record(x, function, group, timeout)
      true -> in_turn(timeout, function, &apply(Native, @natives[function], [x, group.ref, &1]))
    end
  end

  defp operand(x, function) do
    CalledFunction.name("Mlx.Distributed.#{function}", ["Mlx.array"], fn -> Mlx.array(x) end)
  end

  # One operation at a time uses the connection. To wait for it in Elixir keeps no scheduler.
  defp in_turn(timeout, function, fun) do
    case fun.(timeout) do
      :busy when timeout == 0 ->
        raise Mlx.Error, "Mlx.Distributed.#{function}: other operations of this virtual machine took all the time"

      :busy ->
        Process.sleep(@retry_after)
        in_turn(timeout && max(timeout - @retry_after, 0), function, fun)

      result ->
        result
    end
  end

  defp group_and_timeout(options, function) do
    [group, timeout] = Options.without_stream(options, :"Distributed.#{function}", group: nil, timeout: :infinity)

    unless is_nil(group) or is_struct(group, Group) do
      raise ArgumentError,
            "Mlx.Distributed.#{function}: expected :group to be a Mlx.Distributed.Group, got: #{inspect(group)}"
    end

    {group || init(), check_timeout(timeout, function)}
  end

  defp check_timeout(:infinity, _function), do: nil
  defp check_timeout(timeout, _function) when timeout in 0..0x7FFFFFFF, do: timeout

  defp check_timeout(timeout, function) do
    raise ArgumentError,
          "Mlx.Distributed.#{function}: expected :timeout to be milliseconds or :infinity, got: #{inspect(timeout)}"
  end

  defp check_backend(backend, _function) when backend in @backends, do: backend

  defp check_backend(backend, function) do
    raise ArgumentError,
          "Mlx.Distributed.#{function}: expected a backend, one of #{inspect(@backends)}, got: #{inspect(backend)}"
  end
end
