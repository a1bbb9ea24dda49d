Code.require_file("models.exs", __DIR__)

defmodule Bench.MemoryRow do
  @moduledoc false
  # A row of bench/memory, in a virtual machine of its own. memory.py has the same of those that are no matter of processes.

  alias Bench.{Models, Training}

  defmodule Server do
    @moduledoc false
    # Serves what a layer makes of an array: all of it, or a number of it.

    use GenServer

    alias Bench.MemoryRow

    @impl true
    def init(weight), do: {:ok, weight}

    @impl true
    def handle_call({:array, x}, _from, weight), do: {:reply, x |> MemoryRow.layer(weight) |> Mlx.eval(), weight}
    def handle_call({:number, x}, _from, weight), do: {:reply, x |> MemoryRow.layer(weight) |> MemoryRow.sum(), weight}
  end

  @tokens 40
  @calls 200
  @rounds 100

  # How long what is dead has to become free, in milliseconds.
  @wait 1000
  @waits %{"200 servers" => 2000}

  # The words of the heap of a process that has done other work before. They are more than the work needs, so that no process
  # is collected because its heap is full.
  @heap [min_heap_size: 50_000]

  @doc """
  The megabytes in use before the work of a row, at most, and at its end, and those that can be reached then.
  """
  def measure(name) do
    {:ok, _applications} = Application.ensure_all_started(:mlx)
    caller = self()
    Process.spawn(fn -> send(caller, {:measured, measured(name)}) end, [:link | @heap])
    receive do: ({:measured, measured} -> measured)
  end

  defp measured(name) do
    {given, work} = row(name)
    Mlx.eval(given)
    # Making it has left something dead.
    :erlang.garbage_collect()
    before = Mlx.Memory.active()
    Mlx.Memory.reset_peak()
    result = work.()
    Process.sleep(Map.get(@waits, name, @wait))
    measured = [before, Mlx.Memory.peak(), Mlx.Memory.active(), Mlx.Memory.buffer_size([given, result])]
    Enum.map(measured, &(&1 / 1.0e6))
  end

  # What the work is given, and a function that does the work and returns what is in use at its end.
  defp row("chain"), do: chain(&Mlx.eval/1)
  defp row("chain, read as a number"), do: chain(&sum/1)

  defp row("60 elementwise layers") do
    x = Models.weight({1024, 2048})
    {x, fn -> x |> elementwise(60) |> Mlx.eval() end}
  end

  defp row("training loop") do
    {parameters, loss, [x, targets] = inputs} = Models.mlp([256, 1024, 10], 1024)
    step = Training.step(loss)

    {[parameters, inputs],
     fn ->
       Enum.reduce(1..50, parameters, fn _step, parameters ->
         {_loss, parameters} = Mlx.eval(step.(parameters, x, targets))
         parameters
       end)
     end}
  end

  # The layers have the same parameters, beside many of which the results would be small.
  defp row("transformer of 24 layers") do
    layer = Models.transformer_layer(512)
    x = Models.weight({1, 256, 512})
    {[layer, x], fn -> 1..24 |> Enum.reduce(x, fn _layer, x -> Models.block(layer, x) end) |> Mlx.eval() end}
  end

  defp row("generation") do
    lm = Mlx.LM.load(System.fetch_env!("MLX_TEST_MODEL"))

    {lm.model,
     fn ->
       %{generated_tokens: @tokens} = Mlx.LM.generate(lm, Enum.to_list(1..128), max_tokens: @tokens)
       []
     end}
  end

  defp row("server"), do: served(fn server, x -> GenServer.call(server, {:number, x}) end)

  defp row("server that replies with arrays"),
    do: served(fn server, x -> server |> GenServer.call({:array, x}) |> sum() end)

  defp row("200 servers") do
    {weight, inputs} = given = requests()
    {given, fn -> each_request(inputs, fn x -> weight |> server() |> GenServer.call({:number, x}) end) end}
  end

  defp row("producer of graphs") do
    x = Models.weight({2048, 1024})

    {x,
     fn ->
       evaluating = self()
       producer = process(fn :next -> send(evaluating, {:graph, elementwise(x, 10)}) end)

       repeat(fn ->
         send(producer, :next)
         receive do: ({:graph, y} -> sum(y))
       end)
     end}
  end

  defp row("relay") do
    x = Models.weight({2048, 1024})

    {x,
     fn ->
       first = self()
       last = process(fn {:array, y} -> send(first, {:sum, sum(y)}) end)
       relay = process(fn {:array, y} -> send(last, {:array, y}) end)

       repeat(fn ->
         send(relay, {:array, x |> Mlx.multiply(0.5) |> Mlx.eval()})
         receive do: ({:sum, _sum} -> :ok)
       end)
     end}
  end

  defp row("stream of tasks") do
    x = Models.weight({1024, 1024})
    batch = fn _batch -> x |> elementwise(5) |> sum() end
    {x, fn -> 1..@rounds |> Task.async_stream(batch, max_concurrency: 2) |> Stream.run() end}
  end

  defp chain(read) do
    x = Models.weight({2048, 1024})
    weight = Models.weight({1024, 1024})
    {[x, weight], fn -> 1..60 |> Enum.reduce(x, fn _layer, x -> layer(x, weight) end) |> read.() |> List.wrap() end}
  end

  defp served(call) do
    {weight, inputs} = given = requests()

    {given,
     fn ->
       server = server(weight)
       each_request(inputs, fn x -> call.(server, x) end)
     end}
  end

  # What a server holds, and inputs of which it makes arrays of 4 to 8 MB.
  defp requests, do: {Models.weight({64, 1024}), for(rows <- 1024..2048//256, do: Models.weight({rows, 64}))}

  defp each_request(inputs, serve), do: inputs |> Stream.cycle() |> Stream.take(@calls) |> Enum.each(serve)

  defp server(weight) do
    {:ok, server} = GenServer.start_link(Server, weight, spawn_opt: @heap)
    server
  end

  # A process that does something for each message, and waits for the next.
  defp process(handle), do: Process.spawn(fn -> handle_messages(handle) end, [:link | @heap])

  defp handle_messages(handle) do
    receive do: (message -> handle.(message))
    handle_messages(handle)
  end

  defp repeat(fun), do: Enum.each(1..@rounds, fn _round -> fun.() end)

  @doc "Four operations, each of which makes an array with the rows of `x` and the columns of `weight`."
  def layer(x, weight), do: x |> Mlx.matmul(weight) |> Mlx.max(0) |> Mlx.multiply(0.9) |> Mlx.add(0.1)

  defp elementwise(x, count) do
    [&Mlx.multiply(&1, 0.9), &Mlx.sigmoid/1, &Mlx.add(&1, 0.1), &Mlx.sqrt/1]
    |> Stream.cycle()
    |> Stream.take(count)
    |> Enum.reduce(x, fn operation, x -> operation.(x) end)
  end

  def sum(x), do: x |> Mlx.sum() |> Mlx.to_number()
end
