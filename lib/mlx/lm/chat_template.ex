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
  alias Mlx.LM.ChatTemplate.{Evaluator, Parser, Value}

  @enforce_keys [:statements]
  defstruct @enforce_keys

  @opaque t :: %__MODULE__{statements: [tuple]}

  @doc """
  Reads a template.

  Raises `Mlx.Error` with the line of what is wrong.

      iex> Mlx.LM.ChatTemplate.compile("{% if x %}")
      ** (Mlx.Error) chat template, line 1: the if block does not end
  """
  @spec compile(String.t()) :: t
  def compile(source) when is_binary(source), do: %__MODULE__{statements: Parser.parse(source)}

  @doc """
  The text of `messages`, a list of maps with `role` and `content` (keys may be atoms or strings).

  Every option is a variable of the template. Templates know:

    * `:add_generation_prompt` - whether to end with the start of the assistant's answer (default `false`)
    * `:bos_token`, `:eos_token` - the text of these tokens
    * `:tools`, `:documents` - lists of maps (default `nil`)

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
