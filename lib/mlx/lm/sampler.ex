defmodule Mlx.LM.Sampler do
  @moduledoc """
  Chooses a token from logits, in three steps.

  First the logits are changed:

  | option | meaning | default |
  | --- | --- | --- |
  | `:logit_bias` | a map of tokens to numbers, which are added to the logits of these tokens | `%{}` |
  | `:repetition_penalty` | divides the positive logits of recent tokens by this number and multiplies the negative ones with it | `1.0` |
  | `:repetition_context` | how many tokens are recent to it | `64` |
  | `:presence_penalty` | is subtracted from the logits of recent tokens | `0.0` |
  | `:presence_context` | how many tokens are recent to it | `64` |
  | `:frequency_penalty` | is subtracted from the logit of a recent token as often as it came | `0.0` |
  | `:frequency_context` | how many tokens are recent to it | `64` |
  | `:logits_processors` | functions of your own, see below | `[]` |
  | `:processor_context` | how many tokens these functions see | `256` |

  Then the log-probabilities of the tokens are computed, and some tokens are left out:

  | option | meaning | default |
  | --- | --- | --- |
  | `:top_p` | keeps the fewest most probable tokens whose probabilities reach this sum | `1.0`, all |
  | `:min_p` | keeps tokens at least this many times as probable as the most probable one | `0.0`, all |
  | `:min_tokens_to_keep` | the number of most probable tokens that `:min_p` keeps anyhow | `1` |
  | `:xtc_probability` | how probable it is that XTC ("exclude top choices") is applied to a token | `0.0` |
  | `:xtc_threshold` | XTC leaves out all tokens more probable than this, but for the least probable of them; at most `0.5` | `0.1` |
  | `:xtc_special_tokens` | tokens that XTC never leaves out | `[]` |
  | `:top_k` | keeps this many most probable tokens | `nil`, all |

  At last a token is chosen:

  | option | meaning | default |
  | --- | --- | --- |
  | `:temperature` | divides the log-probabilities; `0.0` takes the most probable token, and then no token is left out before | `0.0` |
  | `:seed` | an integer from 0 to `2 ** 64 - 1`. The same seed gives the same tokens | a random one |
  | `:sampler` | a function of your own, which chooses in place of all this, see below | `nil` |
  | `:logprobs` | how many of the most probable tokens `logprobs/1` tells of; `nil` for no log-probabilities | `nil` |

  The probabilities of the filters are those before the temperature.

      iex> sampler = Mlx.LM.Sampler.new(temperature: 0.8, top_k: 1, seed: 7)
      iex> {token, _sampler} = Mlx.LM.Sampler.sample(sampler, Mlx.array([[0.5, 2.0, 1.0]]))
      iex> Mlx.to_list(token)
      [1]

  ## Functions of your own

  A function of `:logits_processors` takes tokens and logits, and returns logits. The logits have the shape
  `{1, vocabulary}` and the type `:f32`. The tokens are the last `:processor_context`, with the latest at the end; those of
  the prompt are among them. Where fewer tokens came, the array begins with `-1`.

  The function `:sampler` takes the log-probabilities `{1, vocabulary}` and returns a token, an array of integers and of the
  shape `{1}`. Random numbers that it draws without a key, as `Mlx.Random.categorical/2` does, come from `:seed`.

      iex> never_twice = fn tokens, logits ->
      ...>   Mlx.put_along_axis(logits, Mlx.new_axis(tokens[-1], 0) |> Mlx.new_axis(0), :neg_infinity, axis: 1)
      ...> end
      iex> sampler = Mlx.LM.Sampler.new(logits_processors: [never_twice]) |> Mlx.LM.Sampler.observe(Mlx.array([[1]]))
      iex> {token, _sampler} = Mlx.LM.Sampler.sample(sampler, Mlx.array([[0.5, 2.0, 1.0]]))
      iex> Mlx.to_list(token)
      [2]

  In a generation these functions run for the first token, and once more while the step that gives all others is compiled
  (`Mlx.compile/2`). They cannot read the values of arrays there, and what they do besides does not happen for each token.

  Python: `mlx_lm.sample_utils.make_sampler` and `make_logits_processors`, of which contexts have 20 tokens by default.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Array
  alias Mlx.Arguments.{CalledFunction, Options}
  alias Mlx.LM.Sampler.{Choice, LogitBias, LogProbabilities, OptionTable, Penalties, RecentTokens, UserFunctions}

  @great OptionTable.great()
  @context {:integer, 1, 0x100000}

  @table [
    temperature: {0.0, {:number, 0, @great}},
    top_k: {nil, {:optional, {:integer, 1, nil}}},
    top_p: {1.0, {:number_over, 0, 1}},
    min_p: {0.0, {:number, 0, 1}},
    min_tokens_to_keep: {1, {:integer, 1, nil}},
    xtc_probability: {0.0, {:number, 0, 1}},
    xtc_threshold: {0.1, {:number, 0, 0.5}},
    xtc_special_tokens: {[], :tokens},
    logit_bias: {%{}, :bias},
    repetition_penalty: {1.0, {:number, 1 / @great, @great}},
    repetition_context: {64, @context},
    presence_penalty: {0.0, {:number, -@great, @great}},
    presence_context: {64, @context},
    frequency_penalty: {0.0, {:number, -@great, @great}},
    frequency_context: {64, @context},
    logits_processors: {[], {:functions, 2}},
    processor_context: {256, @context},
    sampler: {nil, {:optional, {:function, 1}}},
    logprobs: {nil, {:optional, {:integer, 0, nil}}},
    seed: {nil, {:optional, :seed}}
  ]

  @names Keyword.keys(@table)

  @enforce_keys (@names -- [:seed]) ++ [:key, :recent, :greatest_token]
  defstruct @enforce_keys ++ [last: nil]

  @typep logprobs :: LogProbabilities.t()

  @type t :: %__MODULE__{
          temperature: number(),
          top_k: pos_integer() | nil,
          top_p: number(),
          min_p: number(),
          min_tokens_to_keep: pos_integer(),
          xtc_probability: number(),
          xtc_threshold: number(),
          xtc_special_tokens: Array.t() | nil,
          logit_bias: {Array.t(), Array.t()} | nil,
          repetition_penalty: number(),
          repetition_context: pos_integer(),
          presence_penalty: number(),
          presence_context: pos_integer(),
          frequency_penalty: number(),
          frequency_context: pos_integer(),
          logits_processors: [(Array.t(), Array.t() -> Array.t())],
          processor_context: pos_integer(),
          sampler: (Array.t() -> Array.t()) | nil,
          logprobs: non_neg_integer() | nil,
          key: Array.t(),
          recent: Array.t() | nil,
          greatest_token: integer(),
          last: logprobs | nil
        }

  @doc """
  The names of the options.

      iex> :temperature in Mlx.LM.Sampler.options()
      true
  """
  @spec options() :: [atom()]
  def options, do: @names

  @doc """
  A sampler. Raises `ArgumentError` for an unknown option or a value out of range.

      iex> Mlx.LM.Sampler.new(temperature: 0.7).temperature
      0.7
  """
  @spec new(keyword()) :: t()
  def new(options \\ []) do
    options = Options.complete(options, :"LM.Sampler.new", OptionTable.defaults(@table))
    CalledFunction.name("Mlx.LM.Sampler.new", fn -> OptionTable.check!(@table, options) end)
    {seed, options} = @table |> OptionTable.with_floats(options) |> Keyword.pop!(:seed)
    %{xtc_special_tokens: spared, logit_bias: bias} = Map.new(options)

    struct!(__MODULE__, [
      {:key, Mlx.Random.key(seed || :rand.uniform(0x100000000) - 1)},
      {:recent, options |> window() |> RecentTokens.new()},
      {:greatest_token, Enum.max(spared ++ Map.keys(bias), fn -> -1 end)}
      | Keyword.merge(options, xtc_special_tokens: spared(spared), logit_bias: LogitBias.new(bias))
    ])
  end

  defp window(options) do
    max(Penalties.window(options), if(options[:logits_processors] == [], do: 0, else: options[:processor_context]))
  end

  # The indices of an array {1, vocabulary}.
  defp spared([]), do: nil
  defp spared(tokens), do: Mlx.array([tokens], type: :s32)

  @doc """
  Takes note of tokens `{1, n}` that came before, for the penalties and the functions of `:logits_processors`.

      iex> sampler = Mlx.LM.Sampler.new(presence_penalty: 1.5) |> Mlx.LM.Sampler.observe(Mlx.array([[1, 1]]))
      iex> {token, _sampler} = Mlx.LM.Sampler.sample(sampler, Mlx.array([[0.5, 2.0, 1.0]]))
      iex> Mlx.to_list(token)
      [2]
  """
  @spec observe(t(), Array.t()) :: t()
  def observe(%__MODULE__{} = sampler, %Array{shape: {1, _count}} = tokens) do
    %{sampler | recent: RecentTokens.observe(sampler.recent, tokens)}
  end

  def observe(%__MODULE__{}, %Array{} = tokens) do
    raise ArgumentError,
          "Mlx.LM.Sampler.observe: expected tokens of the shape {1, n}, got an array of the shape #{inspect(tokens.shape)}"
  end

  @doc """
  A token, an array `{1}`, for logits `{1, vocabulary}`, and the sampler for the next one.

  The logits are not evaluated, and neither is the token.

      iex> sampler = Mlx.LM.Sampler.new(logit_bias: %{2 => 5.0})
      iex> {token, _sampler} = Mlx.LM.Sampler.sample(sampler, Mlx.array([[0.5, 2.0, 1.0]]))
      iex> Mlx.to_list(token)
      [2]

  Raises `ArgumentError` when a token of `:logit_bias` or `:xtc_special_tokens` is not in the vocabulary, and when a
  function of the user's own returns something else.
  """
  @spec sample(t(), Array.t()) :: {Array.t(), t()}
  def sample(%__MODULE__{} = sampler, %Array{shape: {1, size}} = logits) when size > 0 do
    check_vocabulary!(sampler, size, "Mlx.LM.Sampler.sample")
    row = row(sampler, logits)
    {token, sampler} = Choice.choose(sampler, row)
    token = Mlx.as_type(token, :s32)

    sampler =
      if sampler.logprobs, do: %{sampler | last: LogProbabilities.of(row, token, sampler.logprobs)}, else: sampler

    {token, observe(sampler, Mlx.new_axis(token, 0))}
  end

  def sample(%__MODULE__{}, %Array{shape: shape}) do
    raise ArgumentError,
          "Mlx.LM.Sampler.sample: expected logits of the shape {1, vocabulary}, got an array of the shape #{inspect(shape)}"
  end

  @doc false
  @spec check_vocabulary!(t(), pos_integer(), String.t()) :: :ok
  def check_vocabulary!(%__MODULE__{greatest_token: token}, size, _function) when token < size, do: :ok

  def check_vocabulary!(%__MODULE__{greatest_token: token}, size, function) do
    raise ArgumentError,
          "#{function}: expected the tokens of :logit_bias and :xtc_special_tokens to be in the vocabulary, from 0 to " <>
            "#{size - 1}, got: #{token}"
  end

  # What a token is chosen by: logits where they are enough, and otherwise log-probabilities.
  @doc false
  @spec row(t(), Array.t()) :: Array.t()
  def row(sampler, logits) do
    row = logits |> LogitBias.apply(sampler.logit_bias) |> processed(sampler)

    if Choice.of_logprobs?(sampler) or sampler.logprobs do
      row = Mlx.as_type(row, :f32)
      Mlx.subtract(row, Mlx.logsumexp(row, axes: [-1], keep_axes: true))
    else
      row
    end
  end

  defp processed(logits, %__MODULE__{recent: nil}), do: logits

  defp processed(logits, sampler) do
    penalized = Penalties.apply(sampler, sampler.recent, Mlx.as_type(logits, :f32))
    UserFunctions.process(sampler.logits_processors, sampler.recent, sampler.processor_context, penalized)
  end

  @doc """
  The log-probability of the token that was sampled last, and those of the most probable ones, with the option `:logprobs`;
  otherwise nil. They are those after all penalties, and before the temperature and the filters.

      iex> sampler = Mlx.LM.Sampler.new(logprobs: 2)
      iex> logits = Mlx.log(Mlx.array([[0.25, 0.5, 0.125, 0.125]]))
      iex> {_token, sampler} = Mlx.LM.Sampler.sample(sampler, logits)
      iex> %{id: 1, top: [{1, first}, {0, second}]} = Mlx.LM.Sampler.logprobs(sampler)
      iex> {Float.round(:math.exp(first), 4), Float.round(:math.exp(second), 4)}
      {0.5, 0.25}

  It waits until the token is computed.
  """
  @spec logprobs(t()) ::
          %{id: non_neg_integer(), logprob: float(), top: [{non_neg_integer(), float()}]} | nil
  def logprobs(%__MODULE__{last: nil}), do: nil
  def logprobs(%__MODULE__{last: last}), do: LogProbabilities.read(last)
end
