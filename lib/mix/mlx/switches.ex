defmodule Mix.Mlx.Switches do
  @moduledoc false
  # The options of the tasks, in tables: how each is read, and what `--help` says of it.
  #
  #     name: {kind, word, text}
  #
  # A kind is one of `OptionParser`, or `{:one_of, names}` for one of some names, which becomes an atom, or `:several` for a
  # string that may come several times, which becomes a list, or `:yes_or_no` for a boolean that `--no-` makes false. `word`
  # stands for the value in the text, and is nil for a switch without one.

  alias Mix.Mlx.{CommandLine, Locale}

  @type row :: {atom(), {atom() | {:one_of, [atom()]}, String.t() | nil, String.t()}}

  @aliases [m: :model, p: :prompt, o: :output, h: :help, q: :quantize, n: :n]

  @types [:f32, :f16, :bf16]

  @help [help: {:boolean, nil, "show this"}]
  @json [json: {:boolean, nil, "write JSON"}]

  @model [
    model:
      {:string, "MODEL", "a folder, a GGUF file, or a name on the Hugging Face Hub; by default that of MLX_TEST_MODEL"},
    adapter: {:string, "FOLDER", "an adapter of mlx-lm or PEFT for a model in a folder"},
    form: {{:one_of, [:quantized, :dense]}, "FORM", "of the matrices: quantized or dense; by default the faster one"},
    type: {{:one_of, @types}, "TYPE", "of all other numbers: f32, f16 or bf16"}
  ]

  @generation [
    system: {:string, "TEXT", "a system message in front"},
    template: {:several, "NAME=VALUE", "a variable of the chat template, such as enable_thinking=false; several times"},
    max_tokens: {:integer, "N", "the most tokens to generate, default 256"},
    temp: {:float, "T", "the temperature; 0 (default) always takes the most probable token"},
    top_p: {:float, "P", "choose among the fewest tokens whose probabilities reach this sum"},
    top_k: {:integer, "K", "choose among this many most probable tokens"},
    min_p: {:float, "P", "leave out tokens less probable than this fraction of the most probable one"},
    min_tokens_to_keep: {:integer, "N", "how many tokens --min-p leaves anyhow, default 1"},
    xtc_probability: {:float, "P", "how often the most probable tokens are left out"},
    xtc_threshold: {:float, "P", "which tokens these are, default 0.1"},
    repetition_penalty: {:float, "R", "make recent tokens less probable by this factor"},
    repetition_context: {:integer, "N", "how many tokens are recent to it, default 64"},
    presence_penalty: {:float, "X", "is subtracted from the logits of recent tokens"},
    presence_context: {:integer, "N", "how many tokens are recent to it, default 64"},
    frequency_penalty: {:float, "X", "is subtracted as often as a recent token came"},
    frequency_context: {:integer, "N", "how many tokens are recent to it, default 64"},
    logit_bias: {:several, "TOKEN=X", "is added to the logit of a token; several times"},
    stop: {:several, "TEXT", "end before this text; several times"},
    ignore_eos: {:boolean, nil, "go on after the model's end tokens"},
    prefill_step: {:integer, "N", "how many tokens of the prompt are read at once, default 2048"},
    seed: {:integer, "N", "the same seed gives the same text"}
  ]

  @doc "A group of options that several tasks have: `:model`, `:generation` or `:json`."
  @spec group(atom()) :: [row()]
  def group(:model), do: @model
  def group(:generation), do: @generation
  def group(:json), do: @json

  @doc """
  The options and the other arguments of a command line. `head` is how the task is called, such as `mix mlx.chat [OPTIONS]`.

  Writes help where it is asked for and returns `:help`. Ends the virtual machine with exit status 1 for what is wrong. With
  `:front`, all that follows the first other argument is for somebody else.
  """
  @spec parse([String.t()], String.t(), [row()], :all | :front) :: {keyword(), [String.t()]} | :help
  def parse(arguments, head, rows, part \\ :all) do
    rows = rows ++ @help

    case parsed(part, Locale.arguments(arguments), strict: Enum.map(rows, &switch/1), aliases: aliases(rows)) do
      {options, rest, []} ->
        if options[:help], do: show(head, rows), else: {values(options, rows, head), rest}

      {_options, _rest, [{name, nil} | _]} ->
        refuse("unknown option or missing value: #{name}#{nearest(name, rows)}", head)

      {_options, _rest, [{name, value} | _]} ->
        refuse("#{name} does not take the value #{inspect(value)}", head)
    end
  end

  @doc "As `parse/4`, for a task that takes nothing but options."
  @spec options([String.t()], String.t(), [row()]) :: keyword() | :help
  def options(arguments, head, rows) do
    case parse(arguments, head, rows) do
      {_options, [other | _]} -> refuse("unexpected argument: #{other}", head)
      {options, []} -> options
      :help -> :help
    end
  end

  # The option that was probably meant, unless the one that was given lacks nothing but its value.
  defp nearest(given, rows) do
    names = for {name, _row} <- rows, do: flag(name)
    near = Enum.max_by(names, &String.jaro_distance(&1, given))
    if given not in names and String.jaro_distance(near, given) >= 0.8, do: "; did you mean #{near}?", else: ""
  end

  defp parsed(:all, arguments, options), do: OptionParser.parse(arguments, options)
  defp parsed(:front, arguments, options), do: OptionParser.parse_head(arguments, options)

  defp switch({name, {{:one_of, _names}, _word, _text}}), do: {name, :string}
  defp switch({name, {:several, _word, _text}}), do: {name, [:string, :keep]}
  defp switch({name, {:yes_or_no, _word, _text}}), do: {name, :boolean}
  defp switch({name, {kind, _word, _text}}), do: {name, kind}

  defp aliases(rows), do: for({letter, name} <- @aliases, Keyword.has_key?(rows, name), do: {letter, name})

  defp values(options, rows, head) do
    for {name, {kind, _word, _text}} <- rows, Keyword.has_key?(options, name) do
      case kind do
        {:one_of, names} -> {name, one_of!(options[name], name, names, head)}
        :several -> {name, Keyword.get_values(options, name)}
        _kind -> {name, options[name]}
      end
    end
  end

  defp one_of!(value, name, names, head) do
    Enum.find(names, &(Atom.to_string(&1) == value)) ||
      refuse("#{flag(name)} does not take the value #{inspect(value)}, but #{Enum.join(names, ", ")}", head)
  end

  defp show(head, rows) do
    lines = for {name, {kind, word, text}} <- rows, do: {shown(name, kind, word), text}
    width = lines |> Enum.map(fn {shown, _text} -> String.length(shown) end) |> Enum.max()
    list = for {shown, text} <- lines, do: ["\n  ", String.pad_trailing(shown, width), "  ", text]
    IO.puts(["Usage: ", head, "\n", list])
    :help
  end

  defp shown(name, kind, word) do
    short = for {letter, ^name} <- @aliases, letter != name, do: ", -#{letter}"
    Enum.join([no(flag(name), kind) | short]) <> if(word, do: " " <> word, else: "")
  end

  defp no("--" <> name, :yes_or_no), do: "--[no-]" <> name
  defp no(flag, _kind), do: flag

  @doc "How an option is written."
  @spec flag(atom()) :: String.t()
  def flag(:n), do: "-n"
  def flag(name), do: "--" <> (name |> Atom.to_string() |> String.replace("_", "-"))

  @doc "Ends the virtual machine with exit status 1 after saying what is wrong, and how the task is called."
  @spec refuse(String.t(), String.t()) :: no_return()
  def refuse(problem, head) do
    CommandLine.exit_with("#{problem}\n\nUsage: #{head}\n--help lists the options.")
  end

  @doc "The pairs `NAME=VALUE` of an option, or a problem that ends the virtual machine."
  @spec pairs(keyword(), atom(), String.t()) :: [{String.t(), String.t()}]
  def pairs(options, name, head) do
    for text <- options[name] || [] do
      case String.split(text, "=", parts: 2) do
        [key, value] when key != "" -> {key, value}
        _other -> refuse("#{flag(name)} does not take the value #{inspect(text)}, but NAME=VALUE", head)
      end
    end
  end
end
