defmodule Mlx.Hub.Settings do
  @moduledoc false
  # What a call of `Mlx.Hub` goes by: its options, and the variables of the environment that Python's library reads, too.

  alias Mlx.Arguments.{Given, Options}
  alias Mlx.Hub.{Name, Patterns}

  @defaults [
    revision: nil,
    files: nil,
    ignore: nil,
    token: nil,
    cache: nil,
    endpoint: nil,
    offline: nil,
    progress: nil,
    parallel: 4,
    connect_timeout: 10_000,
    timeout: 30_000,
    attempts: 5,
    backoff: 500
  ]

  @hub "https://huggingface.co"

  @enforce_keys Keyword.keys(@defaults)
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @doc "The settings of a call of `function` with these options. `name_revision` is that of `name@revision`."
  @spec new(keyword(), atom(), String.t() | nil) :: t()
  def new(options, function, name_revision \\ nil) do
    settings = struct!(__MODULE__, Options.complete(options, function, @defaults))

    %{
      settings
      | revision: revision!(settings.revision, name_revision),
        files: patterns!(:files, settings.files),
        ignore: patterns!(:ignore, settings.ignore),
        token: token!(settings.token),
        cache: cache!(settings.cache),
        endpoint: endpoint!(settings.endpoint),
        offline: offline!(settings.offline),
        progress: progress!(settings.progress)
    }
    |> counts!([:parallel, :connect_timeout, :timeout, :attempts], 1)
    |> counts!([:backoff], 0)
  end

  defp revision!(nil, nil), do: "main"
  defp revision!(nil, named), do: named

  defp revision!(revision, named) do
    cond do
      not Name.revision?(revision) ->
        raise ArgumentError, Name.expected_revision(revision)

      named not in [nil, revision] ->
        raise ArgumentError,
              "the name says the revision #{inspect(named)}, and :revision #{inspect(revision)}; give one"

      true ->
        revision
    end
  end

  defp patterns!(_option, nil), do: nil
  defp patterns!(:files, :all), do: [Patterns.all()]
  defp patterns!(option, pattern) when is_binary(pattern), do: patterns!(option, [pattern])

  defp patterns!(option, patterns) do
    if is_list(patterns) and not List.improper?(patterns) and
         Enum.all?(patterns, &(is_binary(&1) and String.valid?(&1))) do
      patterns
    else
      all = if option == :files, do: ", or :all"

      raise ArgumentError,
            "expected :#{option} to be a list of patterns such as \"*.json\"#{all}, got: #{Given.text(patterns)}"
    end
  end

  # A token is never shown, also not a wrong one.
  defp token!(nil), do: if(true?("HF_HUB_DISABLE_IMPLICIT_TOKEN"), do: nil, else: token_of_machine())
  defp token!(false), do: nil
  defp token!(token) when is_binary(token), do: clean(token, ":token")
  defp token!(_other), do: raise(ArgumentError, "expected :token to be a string, or false to send none")

  defp token_of_machine do
    case variable("HF_TOKEN") || variable("HUGGING_FACE_HUB_TOKEN") do
      nil -> token_of_file(expand(variable("HF_TOKEN_PATH") || Path.join(home(), "token")))
      token -> clean(token, "the environment variable HF_TOKEN")
    end
  end

  defp token_of_file(path) do
    case File.read(path) do
      {:ok, text} -> clean(text, path)
      {:error, _none} -> nil
    end
  end

  defp clean(text, source) do
    token = if String.valid?(text), do: String.trim(text), else: text

    cond do
      token == "" -> nil
      token =~ ~r/\A[\x21-\x7e]+\z/ -> token
      true -> raise ArgumentError, "the token of #{source} has characters that no token has"
    end
  end

  defp cache!(nil) do
    expand(variable("HF_HUB_CACHE") || variable("HUGGINGFACE_HUB_CACHE") || Path.join(home(), "hub"))
  end

  defp cache!(path) when is_binary(path) and path != "" do
    if String.contains?(path, "\0"), do: wrong_cache!(path), else: Path.expand(path)
  end

  defp cache!(other), do: wrong_cache!(other)

  defp wrong_cache!(other), do: raise(ArgumentError, "expected :cache to be a folder, got: #{Given.text(other)}")

  defp home do
    expand(variable("HF_HOME") || Path.join(variable("XDG_CACHE_HOME") || Path.expand("~/.cache"), "huggingface"))
  end

  # Variables in a path are Python's habit.
  defp expand(path) do
    ~r/\$(?:(\w+)|\{(\w+)\})/
    |> Regex.replace(path, fn whole, name, braced -> System.get_env(name <> braced) || whole end)
    |> Path.expand()
  end

  defp endpoint!(nil), do: endpoint!(variable("HF_ENDPOINT") || @hub)

  defp endpoint!(text) do
    with true <- is_binary(text) and text =~ ~r/\A[\x21-\x7e]+\z/,
         {:ok, %URI{scheme: scheme, host: host, userinfo: nil, query: nil, fragment: nil}} <- URI.new(text),
         true <- scheme in ["http", "https"] and host not in [nil, ""] do
      String.trim_trailing(text, "/")
    else
      _other ->
        raise ArgumentError, "expected :endpoint to be an address such as #{inspect(@hub)}, got: #{Given.text(text)}"
    end
  end

  defp offline!(nil), do: true?("HF_HUB_OFFLINE") or true?("TRANSFORMERS_OFFLINE")
  defp offline!(offline) when is_boolean(offline), do: offline
  defp offline!(other), do: raise(ArgumentError, "expected :offline to be a boolean, got: #{Given.text(other)}")

  defp progress!(nil) do
    not true?("HF_HUB_DISABLE_PROGRESS_BARS") and match?({:ok, _columns}, :io.columns(:standard_error))
  end

  defp progress!(progress) when is_boolean(progress) or is_function(progress, 1), do: progress

  defp progress!(other) do
    raise ArgumentError, "expected :progress to be a boolean or a function of one argument, got: #{Given.text(other)}"
  end

  defp counts!(settings, names, least) do
    for {name, value} <- Map.take(settings, names), not (is_integer(value) and value >= least) do
      raise ArgumentError, "expected :#{name} to be an integer of at least #{least}, got: #{Given.text(value)}"
    end

    settings
  end

  @doc "A variable of the environment, nil where it is empty."
  @spec variable(String.t()) :: String.t() | nil
  def variable(name), do: with("" <- System.get_env(name), do: nil)

  @doc "Whether a variable of the environment says yes."
  @spec true?(String.t()) :: boolean()
  def true?(name), do: String.upcase(variable(name) || "") in ["1", "ON", "YES", "TRUE"]
end
