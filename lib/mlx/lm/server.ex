defmodule Mlx.LM.Server do
  @moduledoc """
  A supervised process that owns a language model and answers many requests at once.

      children = [{Mlx.LM.Server, model: "mlx-community/Qwen3-0.6B-4bit", name: MyModel}]
      Supervisor.start_link(children, strategy: :one_for_one)

      {:ok, response} = Mlx.LM.Server.generate(MyModel, [%{role: "user", content: "What is the capital of France?"}])
      response.text
      #=> "The capital of France is Paris."

      MyModel |> Mlx.LM.Server.stream("Once upon a time", temperature: 0.7, deadline: 10_000) |> Enum.each(&IO.write/1)

  Requests are decoded together, one row of a batch each. A request joins and leaves at any token. Prompts are read in parts
  between the tokens of the others, so that nobody waits long. The greedy tokens of a request are those that `Mlx.LM.generate/3`
  gives, and so are those of a `:seed`. With a draft model those of a seed are what it gives with the same `:draft`.

  ## What becomes of a request

    * It waits until a slot of the batch and memory for its caches are free: those of a higher `:priority` first, and among
      them those that came first. As many as `:queue` says may wait; others are refused at once
    * It is answered, or ends with a `Mlx.LM.Server.Error`, whose `:reason` says why
    * When the client ends, calls `cancel/2` or stops reading the stream, its slot and its caches are free before the next
      token
    * When the computation breaks down, the requests in the batch end with `:failed`, those that wait go on, and the model
      stays in memory. When that happens more than three times in ten seconds, the server ends, and its supervisor starts it
      anew

  ## Prompts that begin alike

  What was read of a prompt and of its answer is kept, within the bytes of `:prompt_cache`, and what was used the longest
  time ago goes first. A prompt that begins with the same tokens is read from there on: the next turn of a conversation, or
  a long text that many prompts begin with. Models with sliding windows or recurrent layers go on from the end of a message,
  of an answer or of a whole prompt. `:cached_tokens` of the response says how many tokens were not read again.

  ## A server

  is a process, its name, `{name, node}`, `{:via, module, name}`, `{:global, name}`, or `{:group, group}`: any server that
  was started with this `:group` on a node of the cluster, by preference one on the node of the client. Only texts, numbers
  and lists go from node to node. `{:model, models, name}` is one of several models that are loaded on demand, see
  `Mlx.LM.Server.Models`.

  What happens is told as events of `Mlx.Telemetry`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Given, Options}
  alias Mlx.LM.{ChatTemplate, Response, Tokenizer}
  alias Mlx.LM.Sampler.OptionTable
  alias Mlx.LM.Server.{Client, Drafting, Error, Front}

  @table [
    model: {nil, :any},
    name: {nil, :any},
    load: {[], :any},
    draft: {nil, :any},
    draft_tokens: {nil, {:optional, {:integer, 1, 64}}},
    slots: {32, {:integer, 1, 256}},
    queue: {256, {:integer, 0, nil}},
    prefill_step: {nil, {:optional, {:integer, 1, nil}}},
    memory: {nil, {:optional, {:integer, 1, nil}}},
    prompt_cache: {nil, {:optional, {:integer, 0, nil}}},
    prompts: {nil, :any},
    drain: {5000, {:integer, 0, 0xFFFFFFFF}},
    group: {nil, :any}
  ]

  # What a supervisor waits beyond the time of `:drain`.
  @beyond_drain 5000

  @type server :: GenServer.server() | {:group, term()} | {:model, GenServer.server(), term()}

  @typedoc "What comes of a request; `:done` is the last one."
  @type event :: {:text, String.t()} | {:token, Response.token()} | {:done, Response.t()}

  @type info :: %{
          model: String.t(),
          slots: pos_integer(),
          active: non_neg_integer(),
          waiting: non_neg_integer(),
          queue: non_neg_integer(),
          stopping: boolean(),
          memory: %{limit: pos_integer(), reserved: non_neg_integer()},
          counters: %{atom() => non_neg_integer()}
        }

  @doc """
  The child specification for a supervisor, of the options of `start_link/1`.

      iex> Mlx.LM.Server.child_spec(model: "SmolLM2", name: MyModel).id
      MyModel
  """
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(options) do
    settings = settings!(options, :"LM.Server.child_spec")

    %{
      id: settings.name || __MODULE__,
      start: {__MODULE__, :start_link, [options]},
      shutdown: settings.drain + @beyond_drain
    }
  end

  @doc """
  Starts a server, and returns when its model is loaded.

  Options:

    * `:model` - an `Mlx.LM`, or what `Mlx.LM.load/2` loads
    * `:load` - options of `Mlx.LM.load/2`, default `[]`
    * `:draft` - a smaller model with the same vocabulary that drafts for all requests, an `Mlx.LM` or what `Mlx.LM.load/2`
      loads, with the `:form` and `:type` of `:load`; default `nil`. Both models have caches of all positions. See "Drafts" of
      `Mlx.LM.events/3`
    * `:draft_tokens` - how many tokens it drafts at most, for requests that do not say; default 4
    * `:name` - as that of `GenServer.start_link/3`, default `nil`
    * `:slots` - the most requests that are decoded at once, default 32
    * `:queue` - the most requests that wait, default 256
    * `:prefill_step` - how many tokens of prompts are read between two tokens of the others, of one prompt or of several
      short ones; by default 128 on a CPU and 512 on a GPU
    * `:memory` - the most bytes for the caches of requests; by default half of what `Mlx.Memory.limit/0` leaves beside the
      model
    * `:prompt_cache` - the most bytes for what is kept of earlier prompts and answers, 0 for none; by default a quarter
    * `:prompts` - a folder of `save_prompts/2`, or with files of `Mlx.LM.Context.save/3`, whose prompts need not be read
      again; default `nil`
    * `:drain` - for how many ms a server that stops goes on with the requests in the batch, default 5000
    * `:group` - a term by which clients on all nodes find the server, see above; default `nil`
  """
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(options) do
    settings = settings!(options, :"LM.Server.start_link")
    GenServer.start_link(Front, settings, if(settings.name, do: [name: settings.name], else: []))
  end

  defp settings!(options, function) do
    options = Options.complete(options, function, OptionTable.defaults(@table))
    CalledFunction.name("Mlx.#{function}", fn -> OptionTable.check!(@table, options) end)

    if not (is_struct(options[:model], Mlx.LM) or is_binary(options[:model])) do
      raise ArgumentError,
            "Mlx.#{function}: expected :model to be an Mlx.LM, or a path or name of a model, got: " <>
              Given.text(options[:model])
    end

    if not (options[:prompts] == nil or is_binary(options[:prompts])) do
      raise ArgumentError,
            "Mlx.#{function}: expected :prompts to be the path of a folder, or nil, got: #{Given.text(options[:prompts])}"
    end

    if not (options[:draft] == nil or is_struct(options[:draft], Mlx.LM) or is_binary(options[:draft])) do
      raise ArgumentError,
            "Mlx.#{function}: expected :draft to be an Mlx.LM, a path or name of a model, or nil, got: " <>
              Given.text(options[:draft])
    end

    # What is not loaded yet is looked at when it is.
    if options[:draft] == nil or (is_struct(options[:draft]) and is_struct(options[:model])) do
      CalledFunction.name("Mlx.#{function}", fn ->
        Drafting.model!(options[:draft], options[:draft_tokens], options[:model])
      end)
    end

    settings = Map.new(options)
    %{settings | prefill_step: settings.prefill_step || if(Mlx.Device.default() == :cpu, do: 128, else: 512)}
  end

  @doc """
  The whole answer to a prompt, which is what `Mlx.LM.generate/3` takes: a string, messages or tokens. The context of the
  response is nil, because the caches stay with the server.

  Options: `:max_tokens`, `:stop`, `:stop_ids`, `:ignore_eos`, `:special`, `:template` and those of `Mlx.LM.Sampler`, as
  `Mlx.LM.events/3` takes them, and

    * `:draft`, `:draft_tokens` - drafts of the server's draft model, `:model`, or from the prompt and the text so far,
      `:prompt` or `{:ngram, options}`, as in `Mlx.LM.events/3`, or `false` for none; for models whose caches have all
      positions, and without `:grammar`. By default `:model` where the server has one and there is no `:grammar`
    * `:grammar` - what the text has to be: an `Mlx.LM.Grammar`, or a compiled one, whose masks are computed while MLX
      computes; default `nil`
    * `:priority` - an integer; requests of a greater one go first, default 0
    * `:deadline` - after how many ms the request ends with the error `:deadline`, default `nil`, never
    * `:queue` - whether the request waits where no slot is free, default true. Otherwise it is refused with `:queue_full`
  """
  @spec generate(server(), Mlx.LM.prompt(), keyword()) :: {:ok, Response.t()} | {:error, Error.t()}
  def generate(server, prompt, options \\ []) do
    {:done, response} =
      server
      |> Client.events(prompt, options, "Mlx.LM.Server.generate")
      |> Enum.find(&match?({:done, _response}, &1))

    {:ok, response}
  rescue
    error in Error -> {:error, error}
  end

  @doc """
  The text of the answer as a stream of strings, each of which never ends inside a character. Takes the options of
  `generate/3`.

  The request is sent when the stream is first read. A client that reads slowly holds up nobody, and a stream that is not
  read to its end cancels its request. Raises `Mlx.LM.Server.Error`.
  """
  @spec stream(server(), Mlx.LM.prompt(), keyword()) :: Enumerable.t()
  def stream(server, prompt, options \\ []) do
    server
    |> Client.events(prompt, options, "Mlx.LM.Server.stream")
    |> Stream.flat_map(fn event -> with {:text, text} <- event, do: [text], else: (_ -> []) end)
  end

  @doc """
  The answer as a stream of `{:text, string}`, of which the last element is `{:done, response}`, with `{:token, map}`
  between where the option `:logprobs` is given, as `Mlx.LM.events/3` has them. Otherwise as `stream/3`.
  """
  @spec events(server(), Mlx.LM.prompt(), keyword()) :: Enumerable.t()
  def events(server, prompt, options \\ []), do: Client.events(server, prompt, options, "Mlx.LM.Server.events")

  @doc """
  Sends a request and returns at once. What comes of it are messages `{Mlx.LM.Server, ref, event}` to the calling process,
  with the events of `events/3`, of which the last one is `{:done, response}` or `{:error, error}`. Takes the options of
  `generate/3`.

  The request ends when the calling process does. A server that is killed sends nothing more; who must know of it monitors
  the server.
  """
  @spec submit(server(), Mlx.LM.prompt(), keyword()) :: {:ok, reference()} | {:error, Error.t()}
  def submit(server, prompt, options \\ []), do: Client.submit(server, prompt, options, "Mlx.LM.Server.submit")

  @doc """
  Cancels a request of `submit/3`. Its last event is an error with the reason `:cancelled`, unless the last one is under
  way already.
  """
  @spec cancel(server(), reference()) :: :ok
  def cancel(server, ref) when is_reference(ref) do
    for server <- Client.all(server), do: GenServer.cast(server, {:cancel, ref})
    :ok
  end

  @doc """
  The figures of a server, a map:

    * `:model` - the name of its model
    * `:slots`, `:active` - how many requests are decoded at most, and now
    * `:queue`, `:waiting` - how many may wait, and how many do
    * `:memory` - `:limit`, the bytes that caches may take, and `:reserved`, those of the requests at work at their longest
    * `:stopping` - whether it takes no more requests
    * `:counters` - since its start: `:requests`, each of which ends as one of `:answered`, `:refused`, `:cancelled` and
      `:failed`; `:accepted`, those that were not refused at once; and `:prompt_tokens`, `:cached_tokens`,
      `:generated_tokens`, `:drafted_tokens` and `:accepted_tokens`, which are drafts, of those that were answered
  """
  @spec info(server()) :: info()
  def info(server), do: call!(server, :info, "Mlx.LM.Server.info")

  @doc """
  What is to be known of the model of a server: its name, its tokenizer, its chat template or nil, and its context length.
  On the node of the server nothing is copied.
  """
  @spec model(server()) :: %{
          name: String.t(),
          tokenizer: Tokenizer.t(),
          template: ChatTemplate.t() | nil,
          context_length: pos_integer()
        }
  def model(server) do
    with {:ok, pid} when is_pid(pid) <- Client.find(server, "Mlx.LM.Server.model"),
         %Mlx.LM.Server.About{} = about <- Mlx.LM.Server.About.get(pid) do
      Map.from_struct(about)
    else
      _elsewhere -> call!(server, :model, "Mlx.LM.Server.model")
    end
  end

  defp call!(server, message, called) do
    case Client.find(server, called) do
      {:ok, server} -> GenServer.call(server, message, :infinity)
      {:error, error} -> raise error
    end
  end

  @doc """
  Writes what is kept of prompts and answers to a folder, for the option `:prompts` of `start_link/1`. Returns how many there
  are. Nothing is computed meanwhile.

  Raises `Mlx.LM.Server.Error` where they cannot be written.
  """
  @spec save_prompts(server(), Path.t()) :: non_neg_integer()
  def save_prompts(server, folder) do
    folder = Mlx.IO.FilePath.string!(folder, :"LM.Server.save_prompts")

    case call!(server, {:save, folder}, "Mlx.LM.Server.save_prompts") do
      {:ok, count} -> count
      {:error, text} -> raise Error.new(:failed, "Mlx.LM.Server.save_prompts: #{text}")
    end
  end

  @doc """
  Stops a server: it takes no more requests, refuses those that wait, and goes on with those in the batch for the time of
  `:drain`. A supervisor that ends does the same. A process that started the server, and is linked to it, goes on.
  """
  @spec stop(server()) :: :ok
  def stop(server) do
    case Client.find(server, "Mlx.LM.Server.stop") do
      {:ok, server} ->
        if is_pid(server), do: Process.unlink(server)
        GenServer.stop(server, :shutdown, :infinity)

      {:error, error} ->
        raise error
    end
  end
end
