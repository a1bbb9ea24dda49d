defmodule Mlx.LM.HTTP.Answer do
  @moduledoc false
  # One answer as it comes of the events of a generation: its text, what was thought, and its calls.

  alias Mlx.LM.{Response, Tokenizer, Tools}
  alias Mlx.LM.HTTP.Prompt
  alias Mlx.LM.Tokenizer.StreamDecoder

  @enforce_keys [:parser, :tokenizer]
  defstruct @enforce_keys ++
              [text: [], thinking: [], calls: [], fresh: [], most_calls: nil, closing: "", response: nil]

  @type t :: %__MODULE__{}
  @type item ::
          {:text, String.t()} | {:thinking, String.t()} | {:call, non_neg_integer(), map()} | {:done, Response.t()}

  @doc "An answer of which nothing has come, to text without tools."
  @spec new(Tokenizer.t()) :: t()
  def new(tokenizer), do: %__MODULE__{parser: nil, tokenizer: tokenizer}

  @doc "An answer to a prompt of which nothing has come."
  @spec new(Tokenizer.t(), Prompt.t()) :: t()
  def new(tokenizer, prompt) do
    parts = Map.take(prompt, [:parser, :most_calls, :closing])
    struct!(__MODULE__, Map.put(parts, :tokenizer, tokenizer))
  end

  @doc "What an event brings, and the answer with it. Tokens with their log-probabilities wait for `fresh/1`."
  @spec event(t(), {:text, String.t()} | {:token, map()} | {:done, Response.t()}) :: {[item()], t()}
  def event(answer, {:token, token}), do: {[], %{answer | fresh: [token | answer.fresh]}}
  def event(%{parser: nil} = answer, {:text, text}), do: put({:text, text}, answer)

  def event(answer, {:text, text}) do
    {events, parser} = Tools.push(answer.parser, text)
    items(events, %{answer | parser: parser})
  end

  def event(answer, {:done, response}) do
    {items, answer} = items(ended(answer, response), answer)
    {items ++ [{:done, response}], %{answer | response: response}}
  end

  defp ended(%{parser: nil}, _response), do: []

  defp ended(answer, response) do
    closing = if response.finish_reason == :stop, do: answer.closing, else: ""
    {events, parser} = Tools.push(answer.parser, closing)
    events ++ Tools.flush(parser)
  end

  defp items(events, answer) do
    {items, answer} = Enum.map_reduce(events, answer, &put/2)
    {List.flatten(items), answer}
  end

  # What is no call after all is what the model said.
  defp put({:malformed, text}, answer), do: put({:text, text}, answer)
  defp put({:text, text}, answer), do: {[{:text, text}], %{answer | text: [answer.text, text]}}
  defp put({:thinking, text}, answer), do: {[{:thinking, text}], %{answer | thinking: [answer.thinking, text]}}

  defp put({:tool_call, call}, answer) do
    index = length(answer.calls)

    if index == answer.most_calls do
      {[], answer}
    else
      call = %{call | id: call.id || id("call_")}
      {[{:call, index, call}], %{answer | calls: answer.calls ++ [call]}}
    end
  end

  @doc "A name that nothing else has."
  @spec id(String.t()) :: String.t()
  def id(prefix), do: prefix <> Base.encode16(:crypto.strong_rand_bytes(12), case: :lower)

  @doc "The tokens since the last time, in order."
  @spec fresh(t()) :: {[map()], t()}
  def fresh(answer), do: {Enum.reverse(answer.fresh), %{answer | fresh: []}}

  @spec text(t()) :: String.t()
  def text(answer), do: IO.iodata_to_binary(answer.text)

  @spec thinking(t()) :: String.t()
  def thinking(answer), do: IO.iodata_to_binary(answer.thinking)

  @doc "The stop string that ended the answer, or nil."
  @spec stop_string(t(), [String.t()]) :: String.t() | nil
  def stop_string(%{response: %{finish_reason: :stop} = response} = answer, [_ | _] = stops) do
    keep = if answer.parser, do: Tools.special(answer.parser), else: []
    decoder = StreamDecoder.new(answer.tokenizer, special: keep)
    {texts, decoder} = Enum.map_reduce(response.ids, decoder, &StreamDecoder.push(&2, &1))
    whole = IO.iodata_to_binary([texts, StreamDecoder.flush(decoder)])
    Enum.find(stops, &String.starts_with?(whole, response.text <> &1))
  end

  def stop_string(_answer, _stops), do: nil

  @doc "A token with its log-probability, as OpenAI's interfaces have it."
  @spec logprob(t(), map()) :: map()
  def logprob(answer, token) do
    answer
    |> entry(token.id, token.logprob)
    |> Map.put(:top_logprobs, for({id, logprob} <- token.top, do: entry(answer, id, logprob)))
  end

  defp entry(answer, id, logprob) do
    bytes = Tokenizer.bytes(answer.tokenizer, id)
    %{token: token(answer, id), logprob: finite(logprob), bytes: :binary.bin_to_list(bytes)}
  end

  @doc "The text of a token."
  @spec token(t(), non_neg_integer()) :: String.t()
  def token(answer, id), do: answer.tokenizer |> Tokenizer.bytes(id) |> String.replace_invalid()

  # JSON has no infinity. -9999 is what OpenAI has for it.
  @doc "A log-probability as JSON has it."
  @spec finite(term()) :: number()
  def finite(number) when is_number(number), do: number
  def finite(_infinite), do: -9999.0
end
