defmodule Mix.Mlx.CommandLine do
  @moduledoc false
  # What the tasks for language models share: the model that they use, the options of a generation, how problems end them,
  # and how they show figures. `Mix.Mlx.Switches` has their options.

  alias Mix.Mlx.Switches
  alias Mlx.LM.Response

  # What goes to other functions than the generation.
  @others [:model, :adapter, :form, :type, :system, :prompt, :raw, :json, :template, :logit_bias, :draft]

  @doc "The options of `Mlx.LM.events/3` among those of a command line that is called like `head`."
  @spec generation_options(keyword(), String.t()) :: keyword()
  def generation_options(options, head) do
    plain =
      for {name, value} <- Keyword.drop(options, @others), do: {if(name == :temp, do: :temperature, else: name), value}

    bias = for {token, number} <- Switches.pairs(options, :logit_bias, head), into: %{}, do: bias(token, number, head)

    template =
      for {name, value} <- Switches.pairs(options, :template, head), do: {String.to_atom(name), variable(value)}

    plain ++ if(bias == %{}, do: [], else: [logit_bias: bias]) ++ if(template == [], do: [], else: [template: template])
  end

  defp bias(token, number, head) do
    with {id, ""} <- Integer.parse(token), {value, ""} <- Float.parse(number) do
      {id, value}
    else
      _other -> Switches.refuse("--logit-bias does not take the value #{inspect("#{token}=#{number}")}", head)
    end
  end

  # true, false, null, numbers, and lists and objects of JSON; all else is text.
  defp variable(text) do
    case JSON.decode(text) do
      {:ok, value} -> value
      {:error, _reason} -> text
    end
  end

  @doc "The message of `--system`, if it is given."
  @spec system_messages(keyword()) :: [Mlx.LM.message()]
  def system_messages(options) do
    for {:system, text} <- options, do: %{role: "system", content: text}
  end

  @doc "Loads the model of `--model`, or the one that `bin/setup` brought."
  @spec load(keyword()) :: Mlx.LM.t()
  def load(options),
    do: Mlx.LM.load(options[:model] || default_model(), Keyword.take(options, [:form, :type, :adapter]))

  @doc "The option `:draft` of `Mlx.LM.events/3`, with the model of `--draft`."
  @spec draft(keyword()) :: keyword()
  def draft(options) do
    for {:draft, name} <- options do
      {:draft, if(name == "prompt", do: :prompt, else: Mlx.LM.load(name, Keyword.take(options, [:form, :type])))}
    end
  end

  @doc "The content of a file, or an `Mlx.Error` with its name."
  @spec text(Path.t()) :: String.t()
  def text(file) do
    case File.read(file) do
      {:ok, text} -> text
      {:error, reason} -> raise Mlx.Error, "cannot read #{file}: #{:file.format_error(reason)}"
    end
  end

  @doc "Calls a function, and ends the virtual machine with one sentence where a model or its input can't be used."
  @spec or_exit((-> result)) :: result when result: var
  def or_exit(fun) do
    fun.()
  rescue
    error in [Mlx.Error, ArgumentError] -> exit_with(Exception.message(error))
  end

  @doc "Ends the virtual machine with exit status 1 after saying why."
  @spec exit_with(String.t()) :: no_return()
  def exit_with(message) do
    Mix.shell().error(message)
    exit({:shutdown, 1})
  end

  @doc "A function that shows progress, `{_what, done, total}`, on standard error where that is a terminal."
  @spec progress(String.t()) :: (tuple() -> :ok)
  def progress(what) do
    if match?({:ok, _columns}, :io.columns(:standard_error)),
      do: fn {_kind, done, total} -> bar(what, done, total) end,
      else: fn _progress -> :ok end
  end

  @width 20

  defp bar(what, done, total) do
    filled = div(done * @width, max(total, 1))
    bar = String.duplicate("#", filled) <> String.duplicate(".", @width - filled)
    IO.write(:stderr, ["\r#{what}: [#{bar}] #{done} of #{total}\e[K", if(done == total, do: "\n", else: "")])
  end

  @doc "The figures of a response as JSON has them."
  @spec values(Response.t()) :: map()
  def values(response) do
    response
    |> Map.take([:text, :ids, :finish_reason, :prompt_tokens, :generated_tokens, :peak_memory])
    |> Map.merge(Map.take(response, [:prompt_tokens_per_second, :generation_tokens_per_second]))
    |> Map.merge(if(response.speculation, do: Map.take(response, [:speculation]), else: %{}))
  end

  @doc "The figures of a response, as the lines that end a command."
  @spec figures(Response.t()) :: String.t()
  def figures(response) do
    """
    Prompt: #{count(response.prompt_tokens)}, #{rate(response.prompt_tokens_per_second)}
    Generation: #{count(response.generated_tokens)}, #{rate(response.generation_tokens_per_second)}#{drafts(response.speculation)}
    Peak memory: #{Float.round(response.peak_memory / 1.0e6, 1)} MB\
    """
  end

  defp drafts(nil), do: ""
  defp drafts(figures), do: "\nDrafts: #{count(figures.drafted)}, #{figures.accepted} accepted"

  defp count(1), do: "1 token"
  defp count(tokens), do: "#{tokens} tokens"

  defp rate(nil), do: "- tokens per second"
  defp rate(rate), do: "#{Float.round(rate, 1)} tokens per second"

  @doc "The model of the environment, or the one that `bin/setup` brought."
  @spec default_model() :: Path.t()
  def default_model do
    case System.get_env("MLX_TEST_MODEL") do
      path when path in [nil, ""] -> Path.expand("models/SmolLM2-135M-Instruct.Q4_1.gguf", cache_folder())
      path -> path
    end
  end

  # The folder of bin/setup.
  defp cache_folder do
    case {System.get_env("MLX_CACHE"), :os.type()} do
      {path, _system} when path not in [nil, ""] -> path
      {_none, {:unix, :darwin}} -> Path.expand("~/Library/Caches/mlx-elixir")
      _other -> Path.join(System.get_env("XDG_CACHE_HOME") || Path.expand("~/.cache"), "mlx-elixir")
    end
  end
end
