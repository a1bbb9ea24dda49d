defmodule Mlx.LM.Server.Work do
  @moduledoc false
  # What the process of `Mlx.LM.Server.Runner` works on: the prompts that are read (`Mlx.LM.Server.Prompts`) and the rows of the
  # batch (`Mlx.LM.Server.Steps`). Here is what both do with a request: tell its events, let it join, and leave.

  alias Mlx.{Array, Telemetry}
  alias Mlx.LM.{Cache, Context, Decoder, Sampler}
  alias Mlx.LM.Server.{About, Batch, Choosing, Constraint, Drafter, Drafting, PromptCache, Reading, Room, Row}
  alias Mlx.LM.Speculation.Settings

  @enforce_keys [:model, :about, :server, :step, :batch, :choose, :constrain, :judge, :prompts, :drafter]
  # `readings` are the prompts that are read, and `turns` their order. `rows` are those in the batch. `chosen` are the tokens
  # that were chosen for them and not yet read, with the slots that they had then and the samplers that chose them.
  defstruct @enforce_keys ++ [:chosen, rows: %{}, readings: %{}, turns: :queue.new()]

  @typep about :: About.t()
  @typep batch :: Batch.t()
  @typep choose :: Choosing.t()
  @typep constrain :: Constraint.choose()
  @typep draft :: Settings.t() | nil
  @typep drafter :: Drafter.t() | nil
  @typep judge :: Drafting.judge()
  @typep prompts :: PromptCache.t()
  @typep reading :: Reading.t()
  @typep row :: Row.t()
  @typep samplers :: %{reference() => Sampler.t()}

  @type t :: %__MODULE__{
          model: Decoder.t(),
          about: about,
          server: pid(),
          step: pos_integer(),
          batch: batch,
          choose: choose,
          constrain: constrain,
          judge: judge,
          prompts: prompts,
          drafter: drafter,
          chosen: {Array.t(), %{reference() => non_neg_integer()}, samplers} | nil,
          rows: %{reference() => row},
          readings: %{reference() => reading},
          turns: :queue.queue(reference())
        }

  @doc "No work yet, of a server with a draft model or nil, which knows the prompts of some contexts."
  @spec new(pid(), Decoder.t(), draft, map(), [Context.t()]) :: t()
  def new(server, model, draft, settings, contexts) do
    models = [model | List.wrap(draft && draft.draft.model)]
    [limit | of_draft] = Room.prompt_caches(models, settings)

    %__MODULE__{
      model: model,
      about: About.get(server),
      server: server,
      step: settings.prefill_step,
      batch: Batch.new(model, Batch.compile(model)),
      choose: Choosing.compile(),
      constrain: Constraint.compile(),
      judge: Drafting.compile(),
      prompts: Enum.reduce(contexts, PromptCache.new(limit), &PromptCache.put(&2, &1.ids, &1.caches)),
      drafter: draft && Drafter.new(draft.draft.model, model.config.vocabulary, hd(of_draft))
    }
  end

  @doc "Whether there is nothing to do."
  @spec none?(t()) :: boolean()
  def none?(%__MODULE__{rows: rows, readings: readings}), do: rows == %{} and readings == %{}

  @doc "Tells the server what comes of requests: `{Mlx.LM.Server.Runner, pid, [{ref, events}]}`."
  @spec tell(t(), [{reference(), [term()]}]) :: :ok
  def tell(work, events) do
    events = for {_ref, list} = event <- events, list != [], do: event
    if events != [], do: send(work.server, {Mlx.LM.Server.Runner, self(), events})
    :ok
  end

  @doc "An event of telemetry of something that took the time since `started`."
  @spec measured([atom()], integer(), map(), t()) :: :ok
  def measured(event, started, measurements, work) do
    measurements = Map.put(measurements, :duration, System.monotonic_time() - started)
    Telemetry.execute(event, measurements, %{server: work.about.name})
  end

  @doc "What a function returns, or the message of what it raised: a function of the user's own ends its request alone."
  @spec attempt((-> result)) :: {:ok, result} | {:error, String.t()} when result: term()
  def attempt(fun) do
    {:ok, fun.()}
  rescue
    error -> {:error, Exception.message(error)}
  end

  @doc "The events of a row for its next token, and the row, or `:done`. `sampler` is the one that chose it."
  @spec push(row, non_neg_integer(), Sampler.t()) :: {[term()], row | :done}
  def push(row, id, sampler) do
    case attempt(fn -> Row.push(row, id, sampler) end) do
      {:ok, pushed} -> pushed
      {:error, text} -> {[{:error, :failed, text}], :done}
    end
  end

  @doc "A row joins the batch, with caches that are given up and the token `{1}` that it reads next."
  @spec join(t(), row, [Cache.t()], Array.t()) :: t()
  def join(work, row, caches, token) do
    batch = Batch.join(work.batch, row.ref, caches, row.request.prompt, token)
    %{work | rows: Map.put(work.rows, row.ref, row), batch: batch}
  end

  @doc "The draft model drafts for a row, with caches that are given up and have read its prompt."
  @spec join_drafter(t(), row, [Cache.t()]) :: t()
  def join_drafter(work, row, caches) do
    %{work | drafter: Drafter.join(work.drafter, row.ref, caches, row.request.prompt)}
  end

  @doc "A row leaves the batch, if it was there. Where it was the last one, what was chosen for it is of no use."
  @spec leave(t(), reference()) :: t()
  def leave(%__MODULE__{rows: rows} = work, ref) when is_map_key(rows, ref) do
    work = without(work, ref)
    %{work | chosen: if(work.batch.slots > 0, do: work.chosen)}
  end

  def leave(work, _ref), do: work

  # The slot is free for the next row. The step that is under way has it still.
  defp without(work, ref) do
    drafter = work.drafter && Drafter.drop(work.drafter, ref)
    %{work | rows: Map.delete(work.rows, ref), batch: Batch.leave(work.batch, ref), drafter: drafter}
  end

  @doc "A row leaves the batch because something of its own went wrong."
  @spec fail(t(), reference(), String.t()) :: t()
  def fail(work, ref, text) do
    tell(work, [{ref, [{:error, :failed, text}]}])
    without(work, ref)
  end

  @doc "A row leaves the batch at its end, which is the token `id`. What it has read is kept for a request that goes on from there."
  @spec done(t(), reference(), non_neg_integer()) :: t()
  def done(%__MODULE__{prompts: %{limit: 0}} = work, ref, _id), do: leave(work, ref)

  def done(work, ref, id) do
    {slot, length} = work.batch.rows[ref]
    ids = Row.read(work.rows[ref], id, length)
    caches = PromptCache.of_row(work.batch.caches, slot, length)
    prompts = PromptCache.put(work.prompts, ids, caches)
    Cache.release(caches)
    leave(%{work | prompts: prompts, drafter: work.drafter && Drafter.leave(work.drafter, ref, ids)}, ref)
  end

  @doc "Whether the draft model drafts for a row, whose first token is known."
  @spec drafts?(t(), row) :: boolean()
  def drafts?(%__MODULE__{drafter: drafter}, %{request: request, left: left} = row) do
    match?(%{draft: :model}, request.draft) and left > 1 and Drafter.room?(drafter, Row.total(row))
  end

  @doc "Whether some row of the batch has drafts."
  @spec drafting?(t()) :: boolean()
  def drafting?(%__MODULE__{rows: rows}), do: Drafting.any?(rows)
end
