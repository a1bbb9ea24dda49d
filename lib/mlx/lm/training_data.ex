defmodule Mlx.LM.TrainingData do
  @moduledoc """
  Texts for `Mlx.LM.FineTuning`: a file with an object of JSON in each line.

  | a line | what becomes of it |
  | --- | --- |
  | `{"text": "..."}` | its tokens, and the token that ends a text |
  | `{"prompt": "...", "completion": "..."}` | a question and an answer, as the chat template writes them |
  | `{"messages": [{"role": "user", "content": "..."}, ...]}` | a conversation, as the chat template writes it |
  | `{"prompt": "...", "chosen": "...", "rejected": "..."}` | a pair: a question, and an answer that is better than another one |

  All but the first may have `"tools"`, which the template gets. Other fields are ignored, and so are lines that are empty.

  A pair may have `"messages"` in place of the prompt, and lists of messages as answers. A file has either pairs, which are
  for the objectives `:dpo` and `:orpo` of `Mlx.LM.FineTuning.train/4`, or none.

      data = Mlx.LM.TrainingData.open("train.jsonl", lm, mask_prompt: true)
      data.count
      #=> 200
      Enum.each(Mlx.LM.TrainingData.batches(data, 4, shuffle: true), fn batch -> ... end)

  The file is read twice and is never in memory as a whole: `open/3` looks at each line, and keeps where it is and how many
  tokens it has. `batches/3` reads the lines of a batch when it is made. The file must not change meanwhile.

  Python: `mlx_lm.tuner.datasets`, `iterate_batches` of `mlx_lm.tuner.trainer`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{CalledFunction, Given, OptionKinds, Options}
  alias Mlx.IO.FilePath
  alias Mlx.LM.{ChatTemplate, Tokenizer}
  alias Mlx.LM.TrainingData.{Batches, Example, Lines}

  @derive {Inspect, only: [:path, :count, :tokens]}
  @enforce_keys [:path, :index, :count, :tokens, :pairs, :tokenizer, :template, :mask_prompt, :max_length]
  defstruct @enforce_keys

  @typep index :: Batches.index()

  @typedoc """
  Texts of a file: `path`, how many there are (`count`), with how many `tokens` after `:max_length`, and whether they are
  `pairs`, of which the longer answer counts for `tokens`.
  """
  @type t :: %__MODULE__{
          path: Path.t(),
          index: index(),
          count: pos_integer(),
          tokens: pos_integer(),
          pairs: boolean(),
          tokenizer: Tokenizer.t(),
          template: ChatTemplate.t() | nil,
          mask_prompt: boolean(),
          max_length: pos_integer()
        }

  @typedoc "Tokens, and the position from which on they count."
  @type text :: {[Tokenizer.id()], non_neg_integer()}

  @typedoc "What `batches/3` gives: with `from` and `to`, or with `starts` and `counts`."
  @type batch ::
          %{ids: Array.t(), from: Array.t(), to: Array.t(), tokens: Array.t(), rows: Array.t()}
          | %{ids: Array.t(), starts: Array.t(), counts: Array.t(), tokens: Array.t(), rows: Array.t()}

  @options [
    mask_prompt: {false, :boolean},
    max_length: {2048, {&__MODULE__.length?/1, "an integer of at least 2"}}
  ]

  @doc """
  The texts of a file, for a model: an `Mlx.LM.FineTuning` or an `Mlx.LM`, of which the tokenizer and the chat template are used.

  Options:

    * `:mask_prompt` - whether only the answer counts for the loss: of a conversation, the last message. Default false
    * `:max_length` - texts are cut off after so many tokens, default 2048

  Raises `Mlx.Error` with the number of the line for what is no object of JSON, has none of the fields above or other values
  in them, or is less than two tokens; and where the file can't be read, or has no texts.
  """
  @spec open(
          Path.t(),
          %{:tokenizer => Tokenizer.t(), :template => ChatTemplate.t() | nil, optional(any()) => any()},
          keyword()
        ) ::
          t()
  def open(path, model, options \\ [])

  def open(path, %{tokenizer: %Tokenizer{} = tokenizer, template: template}, options) do
    path = FilePath.string!(path, :"LM.TrainingData.open")
    options = Options.complete(options, :"LM.TrainingData.open", OptionKinds.defaults(@options))
    OptionKinds.check!(@options, options, "Mlx.LM.TrainingData.open: ")

    data = %__MODULE__{
      path: path,
      index: {},
      count: 0,
      tokens: 0,
      pairs: false,
      tokenizer: tokenizer,
      template: template,
      mask_prompt: options[:mask_prompt],
      max_length: options[:max_length]
    }

    CalledFunction.name("Mlx.LM.TrainingData.open", fn ->
      {entries, pairs} = path |> Lines.stream() |> Enum.map_reduce(nil, &entry(data, &1, &2))
      if entries == [], do: raise(Mlx.Error, "#{path} has no texts")
      data = %{data | pairs: pairs}
      tokens = Enum.sum_by(entries, fn {_number, _offset, _bytes, length} -> length end)
      %{data | index: List.to_tuple(entries), count: length(entries), tokens: tokens}
    end)
  end

  defp entry(data, {number, offset, line}, pairs) do
    texts = Example.of(data, number, line)
    pair? = match?([_chosen, _rejected], texts)

    if pairs not in [nil, pair?] do
      raise Mlx.Error,
            "#{data.path}, line #{number}: has #{if pair?, do: "a", else: "no"} pair of answers, " <>
              "and the lines before it have #{if pair?, do: "none", else: "one"}"
    end

    {{number, offset, byte_size(line), Batches.longest(data, texts)}, pair?}
  end

  @doc """
  A stream of batches of `size` texts, or of `size` rows of texts. A batch is a map of arrays of integers:

    * `ids` - `{size, length}`, the tokens of a text in each row, and zeros behind them. The length is that of the longest text,
      rounded up to a multiple of 32, and one more, and at most `:max_length`
    * `from`, `to` - `{size}`, from which position on and up to which one a token counts for the loss. As with mlx-lm, the
      position behind the last token counts, too, where there is one
    * `tokens`, `rows` - `{size}`, all alike: how many tokens count in the batch, and how many rows it has

  With `:pack`, a row has several texts, and a batch has in place of `from` and `to`

    * `starts` - `{size, length}`, the place in its row at which the text of each token begins
    * `counts` - `{size, length}`, 1 for the tokens that count for the loss, and 0 for the others

  Of pairs, `ids` is `{size, 2, length}`, and `from` and `to` are `{size, 2}`: first what is chosen, then what is rejected. The
  tokens of the prompt do not count.

  Options:

    * `:sort` - whether the texts of a batch are of like lengths: all texts are sorted by length, those of one length in the
      order of the file; default false
    * `:shuffle` - whether batches come in a random order, another one at each pass, default false. The order comes from the
      sequence of the process, which in `Mlx.Training.run/5` is one of the epoch
    * `:pack` - whether a row has as many texts as have room in `:max_length` tokens, in place of one; default false. The
      loss of a token is the same: it sees its own text alone, at the positions of that text. Then `:sort` is by the tokens
      of rows. Models whose layers do not keep the texts of a row apart, such as recurrent ones, cannot read such rows
    * `:drop_last` - whether rows that are too few for a batch are left out, default false
    * `:limit` - the most batches, default `nil`
    * `:mean_of` - what `tokens` and `rows` are of: `:batch` (default), so that the loss of a batch is a mean of its tokens, or
      `:all` batches, so that the mean of their losses by rows, as `Mlx.Training.evaluate/3` computes it, is one of all tokens

  Raises `ArgumentError` where `:drop_last` leaves no batch, and `Mlx.Error` where the file is another one than before.
  """
  @spec batches(t(), pos_integer(), keyword()) :: Enumerable.t()
  def batches(data, size, options \\ [])

  def batches(%__MODULE__{} = data, size, options) do
    options = Options.complete(options, :"LM.TrainingData.batches", OptionKinds.defaults(Batches.options()))

    OptionKinds.check!([size: {nil, :at_least_one}], [size: size], "Mlx.LM.TrainingData.batches: ", fn _ ->
      "the size"
    end)

    OptionKinds.check!(Batches.options(), options, "Mlx.LM.TrainingData.batches: ")

    check_pack!(data, options)
    check_size!(data, size, options)
    Batches.stream(data, size, options)
  end

  defp check_pack!(%{pairs: pairs, path: path}, options) do
    if options[:pack] and pairs do
      raise ArgumentError,
            "Mlx.LM.TrainingData.batches: expected :pack to be false for pairs of answers, which #{path} has, got: true"
    end
  end

  defp check_size!(data, size, options) do
    if options[:drop_last] do
      {count, what} = if options[:pack], do: {length(Batches.rows(data, options)), "rows"}, else: {data.count, "texts"}

      if count < size do
        raise ArgumentError,
              "Mlx.LM.TrainingData.batches: expected a size of at most #{count}, the #{what} of #{data.path}, " <>
                "got: #{Given.text(size)}"
      end
    end
  end

  @doc """
  The tokens of the text with a number, from 0, with the position from which on they count for the loss. Of a pair, a list of
  two: what is chosen, and what is rejected.
  """
  @spec fetch(t(), non_neg_integer()) :: text() | [text()]
  def fetch(%__MODULE__{count: count} = data, number) when is_integer(number) and number in 0..(count - 1)//1 do
    CalledFunction.name("Mlx.LM.TrainingData.fetch", fn ->
      with [text] <- Batches.fetch(data, number), do: text
    end)
  end

  @doc false
  def length?(value), do: is_integer(value) and value >= 2
end
