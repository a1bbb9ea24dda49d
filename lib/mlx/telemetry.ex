defmodule Mlx.Telemetry do
  # name, metadata, when it comes
  @spans [
    {:eval, "`function`, `arrays`, `bytes`, `device`",
     "arrays are computed, or handed to the device to be computed: `Mlx.eval/1`, `Mlx.async_eval/1`, a call of a " <>
       "definition of Nx with `compiler: Mlx`, but no single operation of `Mlx.Backend`"},
    {:read, "`function`, `arrays`, `bytes`, `device`",
     "values are read, and computed where they are not yet: `Mlx.to_number/1`, `Mlx.to_list/1`, `Mlx.to_flat_list/1`, " <>
       "`Mlx.to_binary/1`, `inspect/2`"},
    {:compile, "`function`, `arrays`, `bytes`, `device`, `compiled`",
     "a function is recorded and compiled for a kind of arguments: `Mlx.compile/2`, `compiler: Mlx` of Nx"}
  ]

  # name, measurements, metadata, when it comes
  @points [
    {[:fallback], "`bytes`", "`function`, `device`, `reason`",
     "something is computed elsewhere or otherwise than asked: by `Nx.BinaryBackend`, on the CPU in place of the GPU, or " <>
       "operation by operation where a fused kernel cannot be made, of which the next evaluation tells"},
    {[:memory, :collect], "`freed`, `active`, `arrays`", "",
     "the calling process was collected before an evaluation, because of the arrays that it made since the last time"},
    {[:memory, :exhausted], "`freed`, `active`, `arrays`", "`reason`",
     "all processes were collected and the cache was cleared: an evaluation got no memory, and is tried once more, or more " <>
       "than the limit is in use"},
    {[:memory, :clear_cache], "`freed`", "", "`Mlx.Memory.clear_cache/0` gave free buffers back"},
    {[:memory, :limit], "`bytes`, `previous`", "`limit`",
     "a limit was set; `limit` is its key in `Mlx.Memory.info/0`, such as `:cache_limit`"},
    {[:training, :report], "`loss`, `steps`, `duration`", "`step`, `epoch`",
     "`Mlx.Training.run/5` made a report: the mean loss of so many steps, and how long they took"},
    {[:training, :epoch], "those of the validation", "`step`, `epoch`",
     "an epoch ended; the measurements are the loss and the metrics of the validation, if there is one"},
    {[:training, :validation], "those of the validation", "`step`, `epoch`",
     "a validation was computed between the ends of epochs, as `:validate_every` says"},
    {[:training, :checkpoint], "`bytes`", "`step`, `path`", "a checkpoint was written"},
    {[:server, :start], "`duration`, `prompt_tokens`", "`server`",
     "a request to `Mlx.LM.Server` has a slot; the duration is how long it waited"},
    {[:server, :prefill], "`duration`, `tokens`, `prompts`", "`server`",
     "a part of a prompt was read, or several short ones together"},
    {[:server, :first_text], "`duration`", "`server`", "the first text of an answer came, so long after the request"},
    {[:server, :step], "`duration`, `rows`, `slots`, `drafted_tokens`", "`server`",
     "a token of each row of the batch is being computed, where the duration is that of handing it to MLX; or there were " <>
       "drafts and their tokens are known"},
    {[:server, :stop],
     "`duration`, `prompt_tokens`, `cached_tokens`, `generated_tokens`, `drafted_tokens`, `accepted_tokens`",
     "`server`, `reason`", "a request was answered; `reason` is that of `Mlx.LM.Response`"},
    {[:server, :refused], "`waiting`", "`server`, `reason`",
     "a request ended with an error; `reason` is that of `Mlx.LM.Server.Error`"}
  ]

  @events for({name, _, _} <- @spans, stage <- [:start, :stop, :exception], do: [:mlx, name, stage]) ++
            for({name, _, _, _} <- @points, do: [:mlx | name])

  span_rows =
    for {name, metadata, occasion} <- @spans, do: "| `[:mlx, #{inspect(name)}, ...]` | #{occasion} | #{metadata} |\n"

  point_rows =
    for {name, measurements, metadata, occasion} <- @points,
        do: "| `#{inspect([:mlx | name])}` | #{occasion} | #{measurements} | #{metadata} |\n"

  @moduledoc """
  Events of `:telemetry`, which show what MLX does in a running system.

  They are emitted where the library `:telemetry` is, which is optional:

      :telemetry.attach_many("mlx", Mlx.Telemetry.events(), &MyApp.Metrics.handle_event/4, nil)

  ## Events of what takes time

  Each comes as `:start` and then as `:stop` or `:exception`, with the measurements and metadata of `:telemetry.span/3`.
  `duration` and `monotonic_time` are in native units of time, see `System.convert_time_unit/3`.

  | event | when | metadata |
  | --- | --- | --- |
  #{span_rows}
  MLX computes while Elixir goes on: to hand arrays to the device takes little time, and who reads a value waits for all
  that it is computed from.

  ## Other events

  | event | when | measurements | metadata |
  | --- | --- | --- | --- |
  #{point_rows}
  ## Measurements and metadata

    * `function` - the name of the function that was called, such as `"Mlx.eval"`
    * `arrays`, `bytes` - how many arrays, and the bytes of their elements: of those that are computed or read, and of the
      arguments of a function that is compiled, or of a definition of Nx with loops. `arrays` of an event of memory are all
      that are alive
    * `device` - where the operations of the calling process run, `:cpu` or `:gpu`; of a fallback, where it is computed
    * `compiled` - the function that is compiled
    * `reason` - why, in words
    * `freed`, `active`, `previous` - bytes that were given back, that arrays use now, and of the limit before. `freed` is
      negative where other processes took more meanwhile
    * `loss`, `steps`, `duration` - the mean loss since the report before, of how many steps, and their time in native units
    * `step`, `epoch` - how many steps a training has made, and the epoch, from 1
    * `path` - the file that was written
    * `server` - the name of the model of a server
    * `prompt_tokens`, `generated_tokens`, `tokens` - how many tokens a prompt, an answer and a part of a prompt have, and
      `cached_tokens`, how many of the prompt other requests had read before
    * `prompts` - how many prompts were read together
    * `drafted_tokens`, `accepted_tokens` - how many tokens were drafted (the option `:draft`), and how many of them stayed
    * `rows`, `slots`, `waiting` - how many requests a step is of, for how many there is room, and how many wait

  ## What it costs

  Without `:telemetry` it is some nanoseconds a call. With it, `:telemetry` looks for handlers at each event, so that both
  events of what takes time cost somewhat less than a microsecond, also where nobody listens. An application that reads many
  small values turns them off, for the same few nanoseconds:

      config :mlx, telemetry: false

  This is looked up once, when the first event is due.
  """

  @compile {:no_warn_undefined, :telemetry}

  alias Mlx.{Array, Device, Type}

  @doc """
  The names of all events, for `:telemetry.attach_many/4`.

      iex> [:mlx, :eval, :stop] in Mlx.Telemetry.events()
      true
  """
  @spec events() :: [[atom()]]
  def events, do: @events

  @doc false
  # Whether events are emitted. It is asked at each evaluation, so that the answer is kept; and at run time, so that nothing
  # has to be compiled again when `:telemetry` comes or goes.
  @spec on?() :: boolean()
  def on? do
    with :unknown <- :persistent_term.get(__MODULE__, :unknown), do: decide()
  end

  # An application that is there and not started yet may be started later.
  defp decide do
    wanted = Application.get_env(:mlx, :telemetry, true) and Code.ensure_loaded?(:telemetry)
    on = wanted and List.keymember?(Application.started_applications(), :telemetry, 0)
    if on == wanted, do: :persistent_term.put(__MODULE__, on)
    on
  end

  @doc false
  # What `fun` returns, with the events of a span around it. `function` is the name of the public function, and `arrays` are
  # arrays, or a shape and a type for each.
  @spec span(:eval | :read | :compile, String.t(), [Array.t() | {tuple(), Type.t()}], map(), (-> result)) :: result
        when result: term()
  def span(event, function, arrays, metadata \\ %{}, fun) do
    if on?() do
      metadata = Map.merge(metadata, describe(function, arrays))
      :telemetry.span([:mlx, event], metadata, fn -> {fun.(), metadata} end)
    else
      fun.()
    end
  end

  @doc false
  # Emits one event.
  @spec execute([atom()], %{atom() => number() | atom()}, map()) :: :ok
  def execute(event, measurements, metadata \\ %{}) do
    if on?(), do: :telemetry.execute([:mlx | event], measurements, metadata), else: :ok
  end

  @doc false
  # Emits that a function is computed elsewhere or otherwise than asked.
  @spec fallback(String.t(), [Array.t()], Device.t(), String.t()) :: :ok
  def fallback(function, arrays, device, reason) do
    execute([:fallback], %{bytes: bytes(arrays)}, %{function: function, device: device, reason: reason})
  end

  defp describe(function, arrays) do
    %{function: function, arrays: length(arrays), bytes: bytes(arrays), device: Device.default()}
  end

  defp bytes(arrays), do: arrays |> Enum.map(&bytes_of/1) |> Enum.sum()

  defp bytes_of(%Array{shape: shape, type: type}), do: bytes_of({shape, type})
  defp bytes_of({shape, type}), do: Tuple.product(shape) * Type.bytes(type)
end
