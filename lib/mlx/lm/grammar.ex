defmodule Mlx.LM.Grammar do
  @moduledoc """
  What a text has to be: JSON of a schema, a match of a regular expression, one of some choices, or a text of a context-free
  grammar. A model writes nothing else with the option `:grammar` of `Mlx.LM.generate/3`.

      grammar = Mlx.LM.Grammar.json_schema(%{
        type: "object",
        properties: [{"name", %{type: "string"}}, {"age", %{type: "integer", minimum: 0}}],
        required: ["name", "age"],
        additionalProperties: false
      })

      Mlx.LM.generate(lm, "Alice is thirty years old. As JSON: ", grammar: grammar).text
      #=> ~s({"name": "Alice", "age": 30})

  Before each token those tokens are left out with which no text of the grammar begins, whichever bytes they have: a token may
  end inside of a character, and span parts of the grammar. The end tokens are left in only where the text may end. A text
  that `:max_tokens` cuts off is the beginning of one.

  ## By hand

  `compile/2` fits a grammar to a tokenizer, `start/2` begins a text, `mask/1` tells which tokens may come, and `accept/2`
  takes the one that came. They are the functions of a loop over tokens of one's own.

      iex> letters = Enum.map(0..255, &Mlx.LM.Tokenizer.ByteAlphabet.character/1)
      iex> tokenizer =
      ...>   Mlx.LM.Tokenizer.from_gguf(%{
      ...>     "tokenizer.ggml.model" => "gpt2",
      ...>     "tokenizer.ggml.pre" => "smollm",
      ...>     "tokenizer.ggml.tokens" => letters ++ ["ye", "es", "<|end|>"],
      ...>     "tokenizer.ggml.token_type" => List.duplicate(1, 258) ++ [3],
      ...>     "tokenizer.ggml.merges" => ["y e", "e s"],
      ...>     "tokenizer.ggml.eos_token_id" => 258
      ...>   })
      iex> compiled = "yes|no" |> Mlx.LM.Grammar.regex() |> Mlx.LM.Grammar.compile(tokenizer)
      iex> state = Mlx.LM.Grammar.start(compiled)
      iex> Mlx.LM.Grammar.allowed(state)
      [110, 121, 256]
      iex> state = Mlx.LM.Grammar.accept(state, 256)
      iex> {Mlx.LM.Grammar.allowed(state), Mlx.LM.Grammar.done?(state)}
      {[115], false}
      iex> state = Mlx.LM.Grammar.accept(state, 115)
      iex> {Mlx.LM.Grammar.allowed(state), Mlx.LM.Grammar.done?(state)}
      {[258], true}

  What is computed once for a place in a grammar is kept for all processes, within 512 MiB, so that the same grammar may be
  compiled again and again.

  Python: what `outlines`, `xgrammar` and `llguidance` do.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{ArgumentType, CalledFunction, Given, Options}

  alias Mlx.LM.Grammar.{
    Compiled,
    EBNF,
    Expression,
    JSONGrammar,
    LogitMasks,
    Masks,
    Place,
    Program,
    Regex,
    Rules,
    Schema,
    Stacks,
    State,
    TokenSet,
    Vocabulary
  }

  alias Mlx.LM.Tokenizer

  @enforce_keys [:rules, :kind]
  defstruct @enforce_keys

  @typep rules :: Rules.t()

  @type t :: %__MODULE__{rules: rules, kind: atom()}

  @doc """
  The JSON values of a schema, which is a map, or the text of one. Keys may be atoms.

  The properties of an object come in the order in which the schema has them. That is the order of a text or of a list of
  pairs; those of a map come in the order of `required`, and the others behind, by their names.

  These keywords are enforced:

    * all types: `type`, `enum`, `const`, `anyOf`, `allOf`, `$ref` to a place in the schema (also a recursive one), `$defs`,
      and `oneOf` where no value fits two of its schemas, by type, by constants or by a required property
    * objects: `properties`, `required`, `additionalProperties`
    * arrays: `items`, `prefixItems`, `minItems`, `maxItems`
    * strings: `minLength`, `maxLength`, `pattern` (see `regex/1`) and `format`: #{Enum.map_join(Mlx.LM.Grammar.Formats.names(), ", ", &"`#{&1}`")}
    * numbers: `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, and `multipleOf` of integers

  Of each schema a part of its values is written, and all that is written is a value of it:

    * a schema with keywords of one type alone, such as `properties`, is taken to be of this type
    * objects with `properties` have no others, unless `additionalProperties` allows them; arrays with `prefixItems` likewise,
      unless `items` does or `minItems` asks for more
    * numbers have at most 16 digits before the point and an exponent of two digits, so that they are numbers elsewhere, too
    * strings with a `pattern` or a `format` and names of additional properties escape only what JSON has to escape

  Titles, descriptions, defaults and examples are left alone. Any other keyword raises `Mlx.Error`, which names the keyword
  and its place, and so does a schema of no value.

  Option:

    * `:whitespace` - `:some`, which is a space, or one or two line breaks and up to 20 spaces or tabs, where JSON takes white
      space, or `:none`; by default `:some`

  Python: `response_format` of the type `json_schema` of `openai`.
  """
  @spec json_schema(map() | [{String.t() | atom(), term()}] | String.t() | boolean(), keyword()) :: t()
  def json_schema(schema, options \\ [])

  def json_schema(schema, options) when is_map(schema) or is_binary(schema) or is_list(schema) or is_boolean(schema) do
    whitespace = whitespace!(options, :json_schema)
    new(:json_schema, fn -> Schema.rules(schema, whitespace) end)
  end

  @doc """
  Any JSON value. Takes the option of `json_schema/2`.

  Python: `response_format` of the type `json_object` of `openai`, for which `json_schema(%{type: "object"})` is the other way.
  """
  @spec json(keyword()) :: t()
  def json(options \\ []) do
    whitespace = whitespace!(options, :json)
    new(:json, fn -> {JSONGrammar.trees(whitespace), :value} end)
  end

  defp whitespace!(options, function) do
    [whitespace] = Options.without_stream(options, :"LM.Grammar.#{function}", whitespace: :some)

    if whitespace not in [:some, :none] do
      raise ArgumentError,
            "Mlx.LM.Grammar.#{function}: expected :whitespace to be :some or :none, got: #{Given.text(whitespace)}"
    end

    whitespace
  end

  @doc """
  The texts that a regular expression matches as a whole.

  It has what Python's `re` and ECMAScript have in common: classes, groups, alternatives, repetitions, and `^` and `$` at the
  ends. `\\d`, `\\w` and `\\s` are those of ASCII, their negations leave out what Unicode counts among them, and `.` is no end of a
  line. Look-ahead, back-references and `\\b` raise `Mlx.Error`, and so does an expression of too many states.

      iex> Mlx.LM.Grammar.regex("[0-9]{1000000}")
      ** (Mlx.Error) Mlx.LM.Grammar.regex: the grammar needs more than 20000 states, or too many steps to find them; use smaller counts of repetition, fewer alternatives that begin alike, or a simpler pattern
  """
  @spec regex(String.t()) :: t()
  def regex(source) when is_binary(source) do
    new(:regex, fn -> {%{root: Regex.parse(source, :whole)}, :root} end)
  end

  @doc "One of these texts."
  @spec choices([String.t()]) :: t()
  def choices(texts) when is_list(texts) do
    if not (ArgumentType.list?(texts) and texts != [] and Enum.all?(texts, &(is_binary(&1) and String.valid?(&1)))) do
      raise ArgumentError,
            "Mlx.LM.Grammar.choices: expected a list of one or more strings, got: #{Given.text(texts)}"
    end

    new(:choices, fn -> {%{root: Expression.alt(for text <- texts, do: {:bytes, text})}, :root} end)
  end

  @doc """
  The texts of a context-free grammar, in the notation of llama.cpp's GBNF: `name ::= ...`, quoted texts, classes such as
  `[a-z]`, `.`, groups, `|`, `*`, `+`, `?`, `{m,n}`, and comments from `#` on. `:=` and `=` are taken for `::=`, single quotes for double ones,
  and a rule may end with `;`. The text is that of the rule `root`, or of the first rule where there is none.

  Raises `Mlx.Error` for what it cannot read, for a rule that is not there, and for one that calls itself through others
  before any character; one that begins with itself is a repetition.

      iex> Mlx.LM.Grammar.ebnf(~S(root ::= sum
      ...> sum ::= sum "+" [0-9]+ | [0-9]+)).kind
      :ebnf
      iex> Mlx.LM.Grammar.ebnf("root ::= digit")
      ** (Mlx.Error) Mlx.LM.Grammar.ebnf: the rule root calls digit, which is not defined
  """
  @spec ebnf(String.t()) :: t()
  def ebnf(source) when is_binary(source), do: new(:ebnf, fn -> EBNF.parse(source) end)

  defp new(kind, trees) do
    called(kind, fn ->
      {trees, first} = trees.()
      %__MODULE__{rules: Rules.new(trees, first), kind: kind}
    end)
  end

  defp called(function, fun) do
    fun.()
  catch
    {:wrong, message} -> raise Mlx.Error, "Mlx.LM.Grammar.#{function}: #{message}"
  end

  @doc """
  Fits a grammar to a tokenizer, or to that of a model.

  Raises `Mlx.Error` for a tokenizer whose tokens have no bytes of their own, such as WordPiece, and where the vocabulary can
  write no text of the grammar.
  """
  @spec compile(t(), Tokenizer.t() | Mlx.LM.t()) :: Compiled.t()
  def compile(%__MODULE__{} = grammar, %Mlx.LM{tokenizer: tokenizer}), do: compile(grammar, tokenizer)

  def compile(%__MODULE__{rules: rules}, %Tokenizer{} = tokenizer) do
    CalledFunction.name("Mlx.LM.Grammar.compile", fn ->
      vocabulary = Vocabulary.of(tokenizer)

      called(:compile, fn ->
        rules |> Rules.without_bytes(&Vocabulary.writes?(vocabulary, &1)) |> Program.new() |> Compiled.new(vocabulary)
      end)
    end)
  end

  @doc """
  The place before the first token of a text.

  Option:

    * `:end_ids` - the tokens that end the text, a list or a set; by default those of the tokenizer
  """
  @spec start(Compiled.t(), keyword()) :: State.t()
  def start(compiled, options \\ [])

  def start(%Compiled{} = compiled, options) do
    [ends] = Options.without_stream(options, :"LM.Grammar.start", end_ids: compiled.vocabulary.end_ids)
    ends = if ArgumentType.list?(ends), do: MapSet.new(ends), else: ends

    unless is_struct(ends, MapSet) and Enum.all?(ends, &(is_integer(&1) and &1 in 0..0x7FFFFFFF)) do
      raise ArgumentError,
            "Mlx.LM.Grammar.start: expected :end_ids to be tokens, a list or a set, got: #{Given.text(ends)}"
    end

    %State{
      compiled: compiled,
      items: Stacks.start(compiled.program),
      end_ids: ends,
      ends: TokenSet.new(Enum.sort(ends))
    }
  end

  @doc """
  Which tokens may come next: a binary of words of 32 bits, little-endian, in which the bit `rem(id, 32)` of the word
  `div(id, 32)` is 1 for those. It has a bit for each token of the tokenizer; the tokens behind may not come.

  `apply_masks/2` makes the logits of the others negative infinity.

  Raises `Mlx.Error` where no token goes on and the text may not end, which is so only in vocabularies that lack tokens for
  single bytes.
  """
  @spec mask(State.t()) :: binary()
  def mask(%State{} = state), do: words(state) || Masks.none(state.compiled, state.ends)

  defp words(%State{ended: true}), do: nil
  defp words(%State{} = state), do: Masks.words(state.compiled, state.items, state.first, state.ends)

  @doc "The tokens that may come next, in order."
  @spec allowed(State.t()) :: [Tokenizer.id()]
  def allowed(%State{} = state) do
    for {word, index} <- Enum.with_index(for <<word::32-little <- mask(state)>>, do: word),
        word != 0,
        bit <- 0..31,
        Bitwise.band(Bitwise.bsr(word, bit), 1) == 1,
        do: 32 * index + bit
  end

  @doc "Whether a token may come next. It takes no look at the other tokens."
  @spec allowed?(State.t(), Tokenizer.id()) :: boolean()
  def allowed?(%State{} = state, id) when is_integer(id) and id >= 0, do: Place.next(state, id) != nil

  @doc """
  The place behind a token.

  Raises `ArgumentError` for one that may not come.
  """
  @spec accept(State.t(), Tokenizer.id()) :: State.t()
  def accept(%State{} = state, id) when is_integer(id) and id >= 0 do
    Place.next(state, id) || raise ArgumentError, "Mlx.LM.Grammar.accept: token #{id} does not fit the grammar here"
  end

  @doc "Whether the text may end here, or has ended."
  @spec done?(State.t()) :: boolean()
  def done?(%State{ended: true}), do: true
  def done?(%State{items: items}), do: Stacks.end?(items)

  @doc """
  Whether the text has ended: whether no token may come any more. Where a text has to end here, an end token may still come.
  """
  @spec finished?(State.t()) :: boolean()
  def finished?(%State{} = state), do: words(state) == nil

  @doc """
  The logits `{rows, vocabulary}` of a batch, in which those of tokens that may not come are negative infinity.

  The masks are those of the rows, a list of what `mask/1` gives; `nil` is one that lets all tokens be. They are as long as they
  have to be for the tokenizer, and the vocabulary of the logits may be longer: its tokens behind may not come.
  `mask_words/2` makes an array of the masks, which may stand in their place.

      iex> logits = Mlx.array([[0.5, 2.0, 1.0]])
      iex> Mlx.to_list(Mlx.LM.Grammar.apply_masks(logits, [<<0b101::32-little>>]))
      [[0.5, :neg_infinity, 1.0]]
  """
  @spec apply_masks(Array.t(), [binary() | nil] | Array.t()) :: Array.t()
  def apply_masks(%Array{shape: {rows, vocabulary}} = logits, masks) when is_list(masks) and length(masks) == rows,
    do: LogitMasks.apply(logits, LogitMasks.words(masks, vocabulary))

  def apply_masks(%Array{shape: {rows, vocabulary}} = logits, %Array{shape: {rows, words}, type: :u32} = masks)
      when 32 * words >= vocabulary,
      do: LogitMasks.apply(logits, masks)

  @doc """
  The masks of a batch as an array `{rows, words}` of the type `:u32`, for a vocabulary of so many tokens. A compiled function
  takes it as an argument.

      iex> Mlx.to_list(Mlx.LM.Grammar.mask_words([<<5::32-little>>, nil], 40))
      [[5, 0], [4294967295, 4294967295]]
  """
  @spec mask_words([binary() | nil], pos_integer()) :: Array.t()
  def mask_words(masks, vocabulary) when is_list(masks) and is_integer(vocabulary) and vocabulary > 0,
    do: LogitMasks.words(masks, vocabulary)

  defimpl Inspect do
    def inspect(grammar, _options), do: "#Mlx.LM.Grammar<#{grammar.kind}>"
  end
end
