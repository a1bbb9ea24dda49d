defmodule Mix.Mlx.CommandLine do
  @moduledoc false
  # What `mix mlx.generate` and `mix mlx.chat` share: their options, the model that they use, and how they show figures.

  alias Mlx.LM.Response

  @switches [
    model: :string,
    system: :string,
    max_tokens: :integer,
    temp: :float,
    top_p: :float,
    top_k: :integer,
    min_p: :float,
    repetition_penalty: :float,
    seed: :integer
  ]

  @names %{temp: :temperature}

  @doc """
  Parses arguments. `extra` are the switches that only one of the tasks has.

  Returns the options and the other arguments, or what is wrong.
  """
  @spec parse([String.t()], keyword()) :: {:ok, keyword(), [String.t()]} | {:error, String.t()}
  def parse(arguments, extra \\ []) do
    case OptionParser.parse(arguments, strict: extra ++ @switches, aliases: [m: :model, p: :prompt]) do
      {options, rest, []} -> {:ok, options, rest}
      {_options, _rest, [{name, nil} | _]} -> {:error, "unknown option or missing value: #{name}"}
      {_options, _rest, [{name, value} | _]} -> {:error, "#{name} does not take the value #{inspect(value)}"}
    end
  end

  @doc "The options of `Mlx.LM.events/3` among those of a command line."
  @spec generation_options(keyword()) :: keyword()
  def generation_options(options) do
    for {name, value} <- Keyword.drop(options, [:model, :system, :prompt]), do: {Map.get(@names, name, name), value}
  end

  @doc "The message of `--system`, if it is given."
  @spec system_messages(keyword()) :: [Mlx.LM.message()]
  def system_messages(options) do
    for {:system, text} <- options, do: %{role: "system", content: text}
  end

  @doc "Loads the model of `--model`, or the one that `bin/setup` brought."
  @spec load(keyword()) :: Mlx.LM.t()
  def load(options), do: Mlx.LM.load(options[:model] || Path.expand(default_model()))

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

  @doc "The figures of a response, as the lines that end a command."
  @spec figures(Response.t()) :: String.t()
  def figures(response) do
    """
    Prompt: #{count(response.prompt_tokens)}, #{rate(response.prompt_tokens_per_second)}
    Generation: #{count(response.generated_tokens)}, #{rate(response.generation_tokens_per_second)}
    Peak memory: #{Float.round(response.peak_memory / 1.0e6, 1)} MB\
    """
  end

  defp count(1), do: "1 token"
  defp count(tokens), do: "#{tokens} tokens"

  defp rate(nil), do: "- tokens per second"
  defp rate(rate), do: "#{Float.round(rate, 1)} tokens per second"

  defp default_model do
    case System.get_env("MLX_TEST_MODEL") do
      path when path in [nil, ""] -> Path.join([cache_folder(), "models", "SmolLM2-135M-Instruct.Q4_1.gguf"])
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
