defmodule Mlx.LM.Server.Models do
  @moduledoc """
  Several servers of models side by side, which are started when they are asked for and put away when others need their
  place.

      children = [
        {Mlx.LM.Server.Models,
         name: MyModels,
         most: 2,
         models: %{
           "small" => [model: "mlx-community/Qwen3-0.6B-4bit"],
           "large" => [model: "mlx-community/Qwen3-8B-4bit", slots: 8],
           "coder" => [model: "/models/coder"]
         }}
      ]

      Mlx.LM.Server.generate({:model, MyModels, "small"}, "Once upon a time")

  `{:model, models, name}` is a server to all functions of `Mlx.LM.Server`. Where as many models are loaded as may, the one
  that was used the longest time ago and has no request is put away. Where all have requests, the error is `:queue_full`.

  A server that ends is started anew by the next request. Models are loaded one after the other, and requests to those that
  are loaded do not wait meanwhile.
  """

  use GenServer
  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.LM.Sampler.OptionTable
  alias Mlx.LM.Server
  alias Mlx.LM.Server.Error

  @table [
    models: {nil, :any},
    name: {nil, :any},
    most: {1, {:integer, 1, nil}},
    idle: {nil, {:optional, {:integer, 1, 0xFFFFFFFF}}}
  ]

  @drain 60_000

  @enforce_keys [:settings, :supervisor]
  # `loaded` has the servers by the names of their models, with when they were used last; `wanted` those who wait for a model,
  # and `loader` the process that loads one now.
  defstruct @enforce_keys ++ [:loader, loaded: %{}, wanted: []]

  @type models :: GenServer.server()

  @doc """
  The child specification for a supervisor, of the options of `start_link/1`.

      iex> Mlx.LM.Server.Models.child_spec(models: %{"a" => [model: "a"]}, name: MyModels).id
      MyModels
  """
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(options) do
    settings = settings!(options, :"LM.Server.Models.child_spec")
    %{id: settings.name || __MODULE__, start: {__MODULE__, :start_link, [options]}, shutdown: @drain}
  end

  @doc """
  Starts the process that starts servers. No model is loaded yet.

  Options:

    * `:models` - a map of names to the options of `Mlx.LM.Server.start_link/1`
    * `:name` - as that of `GenServer.start_link/3`, default `nil`
    * `:most` - how many models are loaded at once, default 1
    * `:idle` - after how many ms without a request a model is put away; default `nil`, only for others
  """
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(options) do
    settings = settings!(options, :"LM.Server.Models.start_link")
    GenServer.start_link(__MODULE__, settings, if(settings.name, do: [name: settings.name], else: []))
  end

  defp settings!(options, function) do
    options = Options.complete(options, function, OptionTable.defaults(@table))
    CalledFunction.name("Mlx.#{function}", fn -> OptionTable.check!(@table, options) end)

    case options[:models] do
      models when is_map(models) and not is_struct(models) and models != %{} ->
        for {_name, options} <- models, do: CalledFunction.name("Mlx.#{function}", fn -> Server.child_spec(options) end)

      other ->
        raise ArgumentError,
              "Mlx.#{function}: expected :models to be a map of names to options of Mlx.LM.Server, got: " <>
                Given.text(other)
    end

    Map.new(options)
  end

  @doc "The server of a model, which is started where it is not there. `Mlx.LM.Server` calls it for `{:model, models, name}`."
  @spec server(models(), term()) :: {:ok, pid()} | {:error, Error.t()}
  def server(models, name), do: GenServer.call(models, {:server, name}, :infinity)

  @doc "The names of all models, each with whether it is loaded."
  @spec names(models()) :: %{term() => boolean()}
  def names(models), do: GenServer.call(models, :names, :infinity)

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    {:ok, supervisor} = DynamicSupervisor.start_link(strategy: :one_for_one)
    if settings.idle, do: Process.send_after(self(), :look, settings.idle)
    {:ok, %__MODULE__{settings: settings, supervisor: supervisor}}
  end

  @impl true
  def handle_call({:server, name}, from, state) do
    case state.loaded do
      %{^name => %{server: server} = entry} ->
        {:reply, {:ok, server}, put_in(state.loaded[name], %{entry | used: now()})}

      _others when is_map_key(state.settings.models, name) ->
        {:noreply, load(%{state | wanted: state.wanted ++ [{name, from}]})}

      _others ->
        known = state.settings.models |> Map.keys() |> Enum.map_join(", ", &inspect/1)
        text = "there is no model #{Given.text(name)}; those that there are: #{known}"
        {:reply, {:error, Error.new(:invalid, "Mlx.LM.Server.Models.server: #{text}")}, state}
    end
  end

  def handle_call(:names, _from, state) do
    {:reply, Map.new(state.settings.models, fn {name, _options} -> {name, is_map_key(state.loaded, name)} end), state}
  end

  # Loads the first model that somebody waits for, if none is being loaded. Where there must be a place, another is put away
  # before.
  defp load(%{loader: nil, wanted: [{name, _from} | _]} = state) do
    case place(state) do
      {:ok, state, leaving} ->
        {supervisor, options} = {state.supervisor, state.settings.models[name]}

        {_pid, monitor} =
          spawn_monitor(fn ->
            for pid <- leaving, do: DynamicSupervisor.terminate_child(supervisor, pid)
            spec = Map.put(Server.child_spec(options), :restart, :temporary)
            exit({:started, DynamicSupervisor.start_child(supervisor, spec)})
          end)

        %{state | loader: {monitor, name}}

      :none ->
        text = "as many models are loaded as may, and all of them have requests; try again later"
        answer(state, name, {:error, Error.new(:queue_full, "Mlx.LM.Server.Models.server: #{text}")})
    end
  end

  defp load(state), do: state

  defp place(%{loaded: loaded, settings: %{most: most}} = state) when map_size(loaded) < most, do: {:ok, state, []}

  defp place(state) do
    case state.loaded |> Enum.sort_by(fn {_name, entry} -> entry.used end) |> Enum.find(&resting?/1) do
      nil -> :none
      {name, entry} -> {:ok, %{state | loaded: Map.delete(state.loaded, name)}, [entry.server]}
    end
  end

  # Whether a server has no request. It answers at once.
  defp resting?({_name, %{server: server}}) do
    %{active: active, waiting: waiting} = Server.info(server)
    active + waiting == 0
  rescue
    Error -> true
  catch
    :exit, _reason -> true
  end

  defp answer(state, name, result) do
    {those, others} = Enum.split_with(state.wanted, fn {wanted, _from} -> wanted == name end)
    for {_name, from} <- those, do: GenServer.reply(from, result)
    load(%{state | wanted: others})
  end

  @impl true
  def handle_info({:DOWN, monitor, :process, _pid, reason}, %{loader: {monitor, name}} = state) do
    state = %{state | loader: nil}

    case reason do
      {:started, {:ok, server}} ->
        entry = %{server: server, used: now(), monitor: Process.monitor(server)}
        {:noreply, answer(put_in(state.loaded[name], entry), name, {:ok, server})}

      {:started, {:error, reason}} ->
        {:noreply, answer(state, name, {:error, failed(name, reason)})}

      reason ->
        {:noreply, answer(state, name, {:error, failed(name, reason)})}
    end
  end

  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    {:noreply, %{state | loaded: Map.reject(state.loaded, fn {_name, entry} -> entry.monitor == monitor end)}}
  end

  def handle_info(:look, %{settings: %{idle: idle}} = state) do
    Process.send_after(self(), :look, idle)
    old = Enum.filter(state.loaded, fn {_name, entry} = loaded -> entry.used < now() - idle and resting?(loaded) end)
    supervisor = state.supervisor
    for {_name, entry} <- old, do: spawn(fn -> DynamicSupervisor.terminate_child(supervisor, entry.server) end)
    {:noreply, %{state | loaded: Map.drop(state.loaded, Enum.map(old, &elem(&1, 0)))}}
  end

  def handle_info({:EXIT, supervisor, reason}, %{supervisor: supervisor} = state), do: {:stop, reason, state}
  def handle_info(_message, state), do: {:noreply, state}

  defp failed(name, {error, stacktrace}) when is_exception(error) and is_list(stacktrace), do: failed(name, error)

  defp failed(name, reason) do
    text = if is_exception(reason), do: Exception.message(reason), else: inspect(reason, limit: 20)
    Error.new(:failed, "Mlx.LM.Server.Models.server: the model #{Given.text(name)} could not be loaded: #{text}")
  end

  @impl true
  def terminate(_reason, state) do
    Supervisor.stop(state.supervisor, :shutdown, :infinity)
  catch
    :exit, _reason -> :ok
  end

  defp now, do: System.monotonic_time(:millisecond)
end
