defmodule Mix.Tasks.Mlx.Server do
  @shortdoc "Serves language models over HTTP, as OpenAI and Anthropic do"

  @moduledoc """
  Serves language models over HTTP, in the forms that OpenAI and Anthropic have.

      mix mlx.server mlx-community/Qwen3-0.6B-4bit
      mix mlx.server SmolLM2.gguf --port 9000 --key secret --embedder all-MiniLM-L6-v2
      mix mlx.server chat=Qwen3-4B-4bit code=Qwen3-Coder-4bit

  A model is a folder, a GGUF file, or a name on the Hugging Face Hub (`Mlx.LM.load/2`); `NAME=MODEL` is how clients ask for
  it. There can be several, of which the first is that of requests without one. Without a model it is the one of the
  environment variable `MLX_TEST_MODEL`, or else the one that `bin/setup` brought.

    * `--port` - where to listen, default 8080; 0 takes any port that is free
    * `--host` - the address to listen on, default `127.0.0.1`, which only this machine reaches. `0.0.0.0` is all. Without
      `--key` another address than that of the machine itself is refused, unless there is `--open`
    * `--key` - a key of which clients must send one; several times. The environment variable `MLX_SERVER_KEYS` has more,
      with commas between, which are not seen in the list of processes
    * `--open` - let everybody ask who reaches the address
    * `--origin` - an origin whose pages may ask, such as `https://example.com`; several times. `any` is all
    * `--embedder`, `--ranker` - a folder for `/v1/embeddings` or `/v1/rerank`; several times
    * `--form`, `--type` - those of `Mlx.LM.load/2`
    * `--draft` - a smaller model with the same vocabulary that drafts tokens for all of them, and `--draft-tokens`, how many
      at most (`Mlx.LM.Server.start_link/1`)
    * `--slots`, `--queue` - those of `Mlx.LM.Server.start_link/1`
    * `--max-tokens`, `--temp`, `--top-p`, `--top-k`, `--min-p` - for requests that do not say
    * `--time-limit` - the longest time of an answer in seconds, default 600
    * `--max-body` - the most bytes of a request, default 8000000
    * `--no-page` - no page at `/`
    * `--help`, `-h` - list the options

  At a SIGTERM it takes no more requests, and answers have five seconds to come to their end. When the process of a model ends,
  it is started anew, and the others go on.

  Wrong options end it with exit status 1. `Mlx.LM.HTTP` tells of the paths.
  """

  use Mix.Task

  alias Mix.Mlx.{CommandLine, Switches}
  alias Mlx.LM.HTTP.Settings

  @head "mix mlx.server [OPTIONS] [NAME=]MODEL..."

  @rows [
    port: {:integer, "N", "where to listen, default 8080; 0 takes any port that is free"},
    host: {:string, "ADDRESS", "the address to listen on, default 127.0.0.1, which only this machine reaches"},
    key: {:several, "KEY", "a key of which clients must send one; several times"},
    open: {:boolean, nil, "let everybody ask who reaches the address"},
    origin: {:several, "ORIGIN", "an origin whose pages may ask, or any; several times"},
    embedder: {:several, "FOLDER", "a model of embeddings; several times"},
    ranker: {:several, "FOLDER", "a model that ranks; several times"},
    draft: {:string, "MODEL", "a smaller model that drafts tokens"},
    draft_tokens: {:integer, "N", "how many tokens are drafted at most, default 4"},
    slots: {:integer, "N", "how many requests are decoded at once, default 32"},
    queue: {:integer, "N", "how many requests may wait, default 256"},
    max_tokens: {:integer, "N", "the most tokens of an answer whose request does not say, default 256"},
    temp: {:float, "T", "the temperature of requests that do not say, default 0"},
    top_p: {:float, "P", "their top_p"},
    top_k: {:integer, "K", "their top_k"},
    min_p: {:float, "P", "their min_p"},
    time_limit: {:integer, "SECONDS", "the longest time of an answer, default 600"},
    max_body: {:integer, "BYTES", "the most bytes of a request, default 8000000"},
    no_page: {:boolean, nil, "no page at /"}
  ]

  @requirements ["app.start"]

  @impl true
  def run(arguments) do
    rows = @rows ++ Keyword.take(Switches.group(:model), [:form, :type])

    with {options, models} <- Switches.parse(arguments, @head, rows) do
      CommandLine.or_exit(fn -> serve(options, models) end)
    end
  end

  defp serve(options, models) do
    settings = settings(options)
    check_open!(options, settings)
    # Wrong options end it before a model is loaded.
    Settings.new!(settings, :"LM.HTTP.start_link")
    models = models(models)

    options =
      for {name, value} <- options, do: {name, if(name == :draft, do: loaded(value, load(options)), else: value)}

    servers = for {{name, model}, index} <- Enum.with_index(models), do: server(name, model, index, options)

    settings =
      settings ++ [models: for({name, process, _child} <- servers, do: if(name, do: {name, process}, else: process))]

    children = [{Mlx.LM.HTTP, settings ++ others(options)}]
    children = for({_name, _process, child} <- servers, do: child) ++ children

    case start(children) do
      {:ok, supervisor} -> serving(supervisor, settings)
      {:error, {:shutdown, {:failed_to_start_child, _child, reason}}} -> CommandLine.exit_with(reason(reason))
    end
  end

  # A child that does not start would end this process before it can say why.
  defp start(children) do
    trapped = Process.flag(:trap_exit, true)
    result = Supervisor.start_link(children, strategy: :one_for_one)
    Process.flag(:trap_exit, trapped)
    result
  end

  defp settings(options) do
    defaults =
      for name <- [:max_tokens, :temp, :top_p, :top_k, :min_p], value = options[name], do: {option(name), value}

    for(name <- [:port, :max_body], options[name] != nil, do: {name, options[name]}) ++
      if(options[:host], do: [ip: options[:host]], else: []) ++
      if(options[:time_limit], do: [time_limit: options[:time_limit] * 1000], else: []) ++
      [
        keys: keys(options),
        origins: origins(options[:origin] || []),
        defaults: defaults,
        page: options[:no_page] != true
      ]
  end

  defp option(:temp), do: :temperature
  defp option(name), do: name

  defp keys(options) do
    of_environment = "MLX_SERVER_KEYS" |> System.get_env("") |> String.split(",", trim: true)
    keys = (options[:key] || []) ++ of_environment
    if "" in keys, do: Switches.refuse("--key is empty", @head), else: Enum.map(keys, &Settings.digest/1)
  end

  defp origins(origins), do: if("any" in origins, do: :any, else: origins)

  defp check_open!(options, settings) do
    %{ip: ip} = Settings.new!(settings, :"LM.HTTP.start_link")

    if settings[:keys] == [] and not Settings.loopback?(ip) and options[:open] != true do
      Switches.refuse("--host #{options[:host]} lets others ask: give a --key, or --open to let everybody", @head)
    end
  end

  # NAME=MODEL, where the name is no path.
  defp models([]), do: [{nil, CommandLine.default_model()}]

  defp models(arguments) do
    for argument <- arguments do
      case Regex.run(~r/\A([^=\/\\]+)=(.+)\z/s, argument) do
        [_all, name, model] -> {name, model}
        nil -> {nil, argument}
      end
    end
  end

  defp server(name, model, index, options) do
    process = Module.concat(__MODULE__, "Model#{index}")
    own = [model: loaded(model, load(options)), name: process]
    own = own ++ Keyword.take(options, [:draft, :draft_tokens, :slots, :queue])
    # What does not go together ends it before it is supervised.
    Mlx.LM.Server.child_spec(own)
    {name, process, {Mlx.LM.Server, own}}
  end

  defp load(options), do: Keyword.take(options, [:form, :type])

  # A model that cannot be loaded is a sentence here, and not the report of a supervisor.
  defp loaded(model, load) do
    Mix.shell().info("Loading #{model} ...")
    Mlx.LM.load(model, load)
  end

  defp others(options) do
    [
      embedders: for(folder <- options[:embedder] || [], do: Mlx.LM.Embedder.load(folder)),
      rankers: for(folder <- options[:ranker] || [], do: Mlx.LM.Ranker.load(folder))
    ]
  end

  defp serving(supervisor, settings) do
    {_id, http, _type, _modules} = supervisor |> Supervisor.which_children() |> List.keyfind(Mlx.LM.HTTP, 0)
    port = Mlx.LM.HTTP.port(http)
    %{ip: ip} = Settings.new!(settings, :"LM.HTTP.start_link")
    Mix.shell().info("Listening on http://#{shown(ip)}:#{port}; Ctrl-C twice ends it.")
    wait(supervisor)
  end

  # The virtual machine ends at a SIGTERM when its handlers have returned, so answers come to their end before that.
  defp drain(supervisor) do
    Supervisor.stop(supervisor)
  catch
    :exit, _ended -> :ok
  end

  defp shown(ip) when tuple_size(ip) == 8, do: "[#{:inet.ntoa(ip)}]"
  defp shown(ip), do: :inet.ntoa(ip)

  defp wait(supervisor) do
    monitor = Process.monitor(supervisor)
    {:ok, handler} = System.trap_signal(:sigterm, fn -> drain(supervisor) end)

    reason =
      receive do
        {:DOWN, ^monitor, :process, _pid, reason} -> reason
      end

    System.untrap_signal(:sigterm, handler)
    if reason != :normal, do: CommandLine.exit_with("The server has ended; its log says why.")
  end

  defp reason(reason) when is_binary(reason), do: reason
  defp reason(reason), do: Exception.format_exit(reason)
end
