defmodule Mlx.LM.ChatTemplate do
  @moduledoc """
  Renders a conversation as the text that a model was trained on, with the model's own template.

  A chat template is a Jinja2 template; in a GGUF file it is the metadata `tokenizer.chat_template`. This is an interpreter
  of what such templates use, with the settings that they are written for (`trim_blocks`, `lstrip_blocks`, `break` and
  `continue`, data that can't be changed): all statements but inheritance and imports, expressions with Python's
  semantics, and the filters, tests and methods in the submodules.

      iex> template = Mlx.LM.ChatTemplate.compile("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
      iex> Mlx.LM.ChatTemplate.render(template, [%{role: "user", content: "Hi"}])
      "<user>Hi"

  A template comes with a model from anywhere, so it is not trusted: it can neither call into the VM nor take more than a
  bounded amount of time and memory.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Given}
  alias Mlx.IO.FilePath
  alias Mlx.LM.ChatTemplate.{Evaluator, Parser, Sources, Value}

  @enforce_keys [:statements]
  @derive {Inspect, only: []}
  defstruct @enforce_keys ++ [source: ""]

  @opaque t :: %__MODULE__{statements: [tuple], source: String.t()}

  @doc """
  Reads a template.

  Raises `Mlx.Error` with the line of what is wrong.

      iex> Mlx.LM.ChatTemplate.compile("{% if x %}")
      ** (Mlx.Error) chat template, line 1: the if block does not end
  """
  @spec compile(String.t()) :: t
  def compile(source) when is_binary(source), do: %__MODULE__{statements: Parser.parse(source), source: source}

  @doc """
  Reads the template of a model's folder, as models on Hugging Face have it, or gives `nil` where there is none.

  It is the file `chat_template.jinja`, or else what `chat_template.json` or `tokenizer_config.json` have under
  `chat_template`: one template, or a list of them with names. `name` is the one to read, by default `"default"`; the
  others are also in files `additional_chat_templates/NAME.jinja`.

  Raises `Mlx.Error` for a file that cannot be read, for a template that is wrong, and for a name that there is not.
  """
  @spec from_folder(Path.t(), String.t()) :: t | nil
  def from_folder(path, name \\ "default")

  def from_folder(path, name) when is_binary(name) do
    path = FilePath.string!(path, :"LM.ChatTemplate.from_folder")

    CalledFunction.name("Mlx.LM.ChatTemplate.from_folder", fn ->
      case Sources.of(path) do
        %{^name => source} ->
          compile(source)

        sources when sources == %{} or name == "default" ->
          nil

        sources ->
          known = sources |> Map.keys() |> Enum.sort() |> Enum.map_join(", ", &inspect/1)
          raise Mlx.Error, message: "#{path} has no chat template #{inspect(name)}; it has #{known}"
      end
    end)
  end

  @doc """
  The text of `messages`, a list of maps with `role` and `content` (keys may be atoms or strings).

  Every option is a variable of the template. Templates know:

    * `:add_generation_prompt` - whether to end with the start of the assistant's answer (default `false`)
    * `:bos_token`, `:eos_token` - the text of these tokens
    * `:tools`, `:documents` - lists of maps (default `nil`)
    * a model's own switches, such as `:enable_thinking`

  Values are `nil`, booleans, numbers, strings, atoms, lists, tuples, maps and keyword lists; a map is in the order of its
  keys, a keyword list in its own. A function can be called by the template.

  Raises `Mlx.Error` with the line of what went wrong, also for what the template itself refuses.

      iex> template = Mlx.LM.ChatTemplate.compile("{{ messages[0]['content'] ~ eos_token }}{% if add_generation_prompt %}>{% endif %}")
      iex> Mlx.LM.ChatTemplate.render(template, [%{"content" => "Hi"}], eos_token: "</s>", add_generation_prompt: true)
      "Hi</s>>"
  """
  @spec render(t, [map], keyword) :: String.t()
  def render(template, messages, options \\ [])

  def render(%__MODULE__{statements: statements}, messages, options) when is_list(messages) do
    check_options!(options)
    variables = Keyword.merge([add_generation_prompt: false, tools: nil, documents: nil, messages: messages], options)

    variables =
      CalledFunction.name("Mlx.LM.ChatTemplate.render", fn ->
        Map.new(variables, fn {name, value} -> {Atom.to_string(name), Value.from_term(value)} end)
      end)

    Evaluator.render(statements, variables)
  end

  defp check_options!(options) do
    if not Keyword.keyword?(options) do
      raise ArgumentError, "Mlx.LM.ChatTemplate.render: expected options, a keyword list, got: #{Given.text(options)}"
    end
  end
end
