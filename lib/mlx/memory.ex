defmodule Mlx.Memory do
  @moduledoc """
  The memory that MLX holds for arrays.

  The runtime of Erlang does not see these bytes: a process may hold gigabytes in a few words of heap. MLX keeps freed
  buffers in a cache to use them again. `info/0` shows all of it.

  Python: `mlx.core.get_active_memory` and the functions beside it.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Native, Telemetry}
  alias Mlx.Arguments.Given
  alias Mlx.Memory.{Claim, Ticket, Wired}
  alias Mlx.Values.Garbage

  @doc """
  All figures, in bytes, and `arrays`: how many arrays there are that no process has let go of. Metal has room for about
  500,000 buffers, however small.

      iex> %{active: active, cache: _, peak: _, arrays: _, limit: limit} = info = Mlx.Memory.info()
      iex> {active < limit, Map.take(info, [:array_limit, :cache_limit, :wired_limit]) |> map_size()}
      {true, 3}
  """
  @spec info() :: %{
          active: non_neg_integer(),
          cache: non_neg_integer(),
          peak: non_neg_integer(),
          arrays: non_neg_integer(),
          limit: non_neg_integer(),
          array_limit: non_neg_integer(),
          cache_limit: non_neg_integer(),
          wired_limit: non_neg_integer()
        }
  def info do
    {active, arrays} = Native.get_held_memory()
    held = %{active: active, arrays: arrays, cache: cache(), peak: peak()}
    limits = %{limit: limit(), array_limit: array_limit(), cache_limit: cache_limit(), wired_limit: wired_limit()}
    Map.merge(held, limits)
  end

  @doc """
  The bytes of the buffers that hold the elements of arrays, each buffer once. The arrays are evaluated.

  Arrays can share a buffer, and a buffer can be larger than the elements of its arrays (`Mlx.byte_size/1`).

      iex> x = Mlx.ones({1024})
      iex> Mlx.Memory.buffer_size([x, x]) == Mlx.Memory.buffer_size(x)
      true
      iex> Mlx.Memory.buffer_size(x) >= Mlx.byte_size(x)
      true

  Python: `mlx.core.get_array_buffer_size`.
  """
  @spec buffer_size(term()) :: non_neg_integer()
  def buffer_size(container), do: container |> Mlx.Tree.arrays() |> Native.buffer_size()

  @doc """
  The bytes of the arrays that are in use.

      iex> array = Mlx.eval(Mlx.zeros({1024}))
      iex> {Mlx.Memory.active() >= 4096, array.shape}
      {true, {1024}}

  Python: `mlx.core.get_active_memory`.
  """
  @spec active() :: non_neg_integer()
  def active, do: Native.get_active_memory()

  @doc """
  The bytes of free buffers that MLX keeps to use again.

      iex> is_integer(Mlx.Memory.cache())
      true

  Python: `mlx.core.get_cache_memory`.
  """
  @spec cache() :: non_neg_integer()
  def cache, do: Native.get_cache_memory()

  @doc """
  The most bytes that were in use at once since the start or `reset_peak/0`.

      iex> is_integer(Mlx.Memory.peak())
      true

  Python: `mlx.core.get_peak_memory`.
  """
  @spec peak() :: non_neg_integer()
  def peak, do: Native.get_peak_memory()

  @doc """
  Starts to measure the peak anew.

      iex> Mlx.Memory.reset_peak()
      :ok

  Python: `mlx.core.reset_peak_memory`.
  """
  @spec reset_peak() :: :ok
  def reset_peak, do: Native.reset_peak_memory()

  @doc """
  Runs a function, computes the arrays in its result, and returns the result with the bytes that this took.

    * `:peak` - by how much more was in use at most than before
    * `:active` - by how much more is in use now, when the process has been collected: what the result holds, if the
      function leaves nothing else behind
    * `:cache` - by how much more free buffers are kept

  `:active` and `:cache` are negative where memory was given back.

      iex> {sum, taken} = Mlx.Memory.measure(fn -> Mlx.sum(Mlx.add(Mlx.ones({1024, 1024}), 1)) end)
      iex> {Mlx.to_number(sum), taken.peak >= 4 * 1024 * 1024, taken.active < taken.peak}
      {2_097_152.0, true, true}

  The figures are those of the whole virtual machine, so other processes should not compute meanwhile. The peak is
  measured anew, as by `reset_peak/0`.

  Python: none; `mlx.core.reset_peak_memory` and the functions beside it.
  """
  @spec measure((-> result)) :: {result, %{peak: non_neg_integer(), active: integer(), cache: integer()}}
        when result: term()
  def measure(fun) when is_function(fun, 0) do
    Garbage.collect()
    before = {active(), cache()}
    reset_peak()
    result = Mlx.eval(fun.())
    # What runs on a GPU keeps its buffers to its end.
    Mlx.Stream.synchronize()
    Garbage.collect()
    {result, taken(before)}
  end

  defp taken({active, cache}) do
    %{peak: max(peak() - active, 0), active: active() - active, cache: cache() - cache}
  end

  @doc """
  The bytes that arrays should use together. Where they use more, MLX slows down and does not fail: an evaluation waits for
  operations that run to end before it starts others, and on a GPU free buffers are given back. What no array may exceed is
  `array_limit/0`.

  By default it is what MLX takes the machine to have room for: 80 % of its memory, or 95 % of that of an NVIDIA GPU. On Linux
  without a GPU it is 80 % of what the process gets where that is less: of the limit of its container (cgroups), or of what
  `ulimit -v` leaves.

  When an evaluation has made the memory grow and more than the limit is in use, all processes are collected and the free
  buffers are given back.

      iex> Mlx.Memory.limit() > 0
      true

  Python: `mlx.core.get_memory_limit`.
  """
  @spec limit() :: non_neg_integer()
  def limit, do: Native.get_memory_limit()

  @doc """
  Sets the limit of `limit/0`, in bytes, and returns the one before. Where arrays and free buffers have more already, all
  processes are collected and the free buffers are given back before it returns.

      iex> previous = Mlx.Memory.set_limit(1_000_000_000)
      iex> Mlx.Memory.set_limit(previous)
      1_000_000_000

  Python: `mlx.core.set_memory_limit`.
  """
  @spec set_limit(non_neg_integer()) :: non_neg_integer()
  def set_limit(bytes) do
    previous = set(:limit, bytes, Native.set_memory_limit(bytes))
    Garbage.keep_within(bytes)
    previous
  end

  @doc """
  The bytes that one array may use. An operation whose result would use more raises `Mlx.Error` at once, where MLX itself
  would end the process when it computes. Views, such as broadcast arrays, use none.

  By default it is the `limit/0` of the start, whatever that is set to later.

      iex> Mlx.Memory.array_limit() > 0
      true

  Not in Python.
  """
  @spec array_limit() :: non_neg_integer()
  def array_limit, do: Native.get_array_limit()

  @doc """
  Sets the limit of `array_limit/0`, in bytes, and returns the one before.

      iex> previous = Mlx.Memory.set_array_limit(1_000_000_000)
      iex> Mlx.Memory.set_array_limit(previous)
      1_000_000_000

  Not in Python.
  """
  @spec set_array_limit(non_neg_integer()) :: non_neg_integer()
  def set_array_limit(bytes), do: set(:array_limit, bytes, Native.set_array_limit(bytes))

  @doc """
  How many bytes of free buffers MLX keeps.

  On a CPU the limit of the start is 256 MiB, or a sixteenth of `limit/0` where that is less; Python's is 32 MiB. On Metal
  it is a quarter of `limit/0`, so that other applications have the rest; Python's is all of it.

      iex> Mlx.Memory.cache_limit() > 0
      true

  Not in Python.
  """
  @spec cache_limit() :: non_neg_integer()
  def cache_limit, do: Native.get_cache_limit()

  @doc """
  Sets the limit of `cache_limit/0`, in bytes, and returns the one before. 0 turns the cache off.

      iex> previous = Mlx.Memory.set_cache_limit(1_000_000)
      iex> Mlx.Memory.set_cache_limit(previous)
      1_000_000

  Python: `mlx.core.set_cache_limit`.
  """
  @spec set_cache_limit(non_neg_integer()) :: non_neg_integer()
  def set_cache_limit(bytes), do: set(:cache_limit, bytes, Native.set_cache_limit(bytes))

  @doc """
  Sets how many bytes stay wired (never paged out) on a Metal GPU, and returns the limit before. It has no effect
  elsewhere. `with_wired/3` does it for as long as a function runs, and `wire/2` for as long as a process needs it.

      iex> previous = Mlx.Memory.set_wired_limit(0)
      iex> is_integer(previous)
      true

  Raises `Mlx.Error` for more than Metal's recommended working set, with macOS 15 or newer.

  Python: `mlx.core.set_wired_limit`.
  """
  @spec set_wired_limit(non_neg_integer()) :: non_neg_integer()
  def set_wired_limit(bytes), do: set(:wired_limit, bytes, Native.set_wired_limit(bytes))

  # The limit before, with an event that there is another one.
  defp set(limit, bytes, previous) do
    Telemetry.execute([:memory, :limit], %{bytes: bytes, previous: previous}, %{limit: limit})
    previous
  end

  @doc """
  The bytes that stay wired: the largest of `set_wired_limit/1` and of what the tickets of `wire/2` and `with_wired/3` come
  to.

      iex> is_integer(Mlx.Memory.wired_limit())
      true

  Not in Python.
  """
  @spec wired_limit() :: non_neg_integer()
  def wired_limit, do: Native.get_wired_limit()

  @doc """
  Claims wired memory for the calling process, and returns a ticket. The memory stays wired until `release/1` gets the
  ticket, or the process ends. `with_wired/3` does both around a function.

  Memory of a GPU with Metal that was not used for a moment may be paged out, unless it is wired. The bytes are by default
  what Metal recommends as a working set. Without Metal nothing is wired and the default is 0, but tickets are counted all
  the same.

      iex> model = Mlx.Memory.wire(3_000_000, policy: :sum)
      iex> cache = Mlx.Memory.wire(1_000_000, policy: :sum)
      iex> Mlx.Memory.wired_limit()
      4000000
      iex> Mlx.Memory.release(cache)
      iex> Mlx.Memory.wired_limit()
      3000000
      iex> Mlx.Memory.release(model)
      :ok

  Options:

    * `:policy` - what the tickets of a group come to together:
        * `:max` - the largest of them, for processes that use the same memory. The default
        * `:sum` - all of them, for memory that each has for itself
        * `{:fixed, bytes}` - always these bytes; the tickets divide them
    * `:budget` - the most bytes that the tickets of a group come to, or `:infinity`. Of `{:fixed, bytes}` it is by default
      these bytes, of other policies what Metal recommends, and `:infinity` without Metal
    * `:timeout` - how many milliseconds to wait, when the budget is spent, for others to release tickets, or `:infinity`.
      0 raises at once. Default 5000
    * `:kind` - `:active`, or `:reserved` for what is counted and need not stay wired while no active ticket of the group
      is held, such as the weights of a model between requests. Default `:active`
    * `:group` - any term. Tickets with the same group, policy and budget are one group; default `nil`

  MLX has one limit for the virtual machine, so of several groups the largest is wired. Who waits for a budget is served in
  order.

      iex> first = Mlx.Memory.wire(600, policy: :sum, budget: 1000)
      iex> second = Task.async(fn -> Mlx.Memory.wire(500, policy: :sum, budget: 1000).bytes end)
      iex> Mlx.Memory.release(first)
      iex> Task.await(second)
      500

  Raises `Mlx.Error` when there is no room in time, when the bytes are more than the budget, and, with macOS 15 or newer,
  for more than what Metal recommends.

  Not in Python; mlx-swift: `WiredMemoryTicket`, `WiredMemoryPolicy` and `WiredMemoryManager`.
  """
  @spec wire(non_neg_integer() | :recommended, keyword()) :: Ticket.t()
  def wire(bytes \\ :recommended, options \\ []), do: claim(bytes, options, :wire)

  defp claim(bytes, options, function) do
    {ticket, timeout} = Claim.new(bytes, options, function)
    Wired.wire(ticket, timeout, "Mlx.Memory.#{function}")
  end

  @doc """
  Ends the claim of a ticket of `wire/2`. Its memory is not wired any more when this returns. Any process may do it, and a
  second time changes nothing. For a ticket that a process still waits for, `wire/2` raises there.

      iex> ticket = Mlx.Memory.wire(1000)
      iex> Mlx.Memory.release(ticket)
      :ok

  Not in Python; mlx-swift: `WiredMemoryTicket.end`.
  """
  @spec release(Ticket.t()) :: :ok
  def release(%Ticket{} = ticket), do: Wired.release(ticket)

  def release(other) do
    raise ArgumentError, "Mlx.Memory.release: expected a ticket of Mlx.Memory.wire/2, got: #{Given.text(other)}"
  end

  @doc """
  The tickets of `wire/2` and `with_wired/3` that are held, and those that processes wait for, each from the oldest to the
  newest.

      iex> ticket = Mlx.Memory.wire(1000)
      iex> ticket in Mlx.Memory.tickets().held
      true
      iex> Mlx.Memory.release(ticket)
      iex> ticket in Mlx.Memory.tickets().held
      false

  Not in Python.
  """
  @spec tickets() :: %{held: [Ticket.t()], waiting: [Ticket.t()]}
  def tickets, do: Wired.tickets()

  @doc """
  Runs a function while memory stays wired on a Metal GPU, and returns its result. The bytes and the options are those of
  `wire/2`; the ticket is released when the function returns, raises, or the process ends.

  The memory of a model is paged out while it waits between two requests, which makes the next one slow. Generation of
  text (`Mlx.LM`) therefore runs in here. Any number of processes may use it at the same time.

      iex> Mlx.Memory.with_wired(fn -> 1 + 1 end)
      2

      iex> Mlx.Memory.with_wired(1_000_000, fn -> Mlx.Memory.wired_limit() end)
      1000000

      iex> Mlx.Memory.with_wired(1_000_000, [policy: {:fixed, 4_000_000}], fn -> Mlx.Memory.wired_limit() end)
      4000000

  Raises `Mlx.Error` as `wire/2` does.

  Python: `mlx_lm.generate.wired_limit`; mlx-swift: `WiredMemoryTicket.withWiredLimit`.
  """
  @spec with_wired(non_neg_integer() | :recommended, keyword(), (-> result)) :: result when result: term()
  def with_wired(bytes \\ :recommended, options \\ [], fun)

  def with_wired(bytes, options, fun) when is_function(fun, 0) do
    ticket = claim(bytes, options, :with_wired)

    try do
      fun.()
    after
      Wired.release(ticket)
    end
  end

  @doc """
  Gives the free buffers back to the system.

      iex> Mlx.Memory.clear_cache()
      :ok

  Python: `mlx.core.clear_cache`.
  """
  @spec clear_cache() :: :ok
  def clear_cache do
    before = cache()
    Native.clear_cache()
    Telemetry.execute([:memory, :clear_cache], %{freed: before - cache()})
  end
end
