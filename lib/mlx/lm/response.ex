defmodule Mlx.LM.Response do
  @moduledoc """
  The end of a generation, and its figures:

    * `:text` - all of the text
    * `:ids` - the tokens, without the end token
    * `:logprobs` - with the option `:logprobs`, a map for each of these tokens: `:id`, `:logprob`, and `:top`, the most
      probable tokens and their log-probabilities in order; otherwise nil. See `Mlx.LM.Sampler.logprobs/1`
    * `:finish_reason` - `:stop` at an end token or a stop string, `:length` when `:max_tokens` or the model's context
      length is reached
    * `:prompt_tokens`, `:prompt_tokens_per_second` - the tokens of the prompt, and the speed up to the first token of the
      answer; tokens that were read with an earlier prompt count in the first only
    * `:cached_tokens` - how many tokens of the prompt were read with an earlier one
    * `:generated_tokens`, `:generation_tokens_per_second` - the tokens of the answer, with its end token, and the speed
      after the first, `nil` when there is only one
    * `:peak_memory` - the most bytes that MLX has held since the start of the virtual machine, or since
      `Mlx.Memory.reset_peak/0`
    * `:speculation` - with the option `:draft`, a map: `:drafted`, how many tokens were drafted, `:accepted`, how many of them
      the model accepted, and `:rounds`, how many times it was called for them; otherwise nil
    * `:context` - what the model has read, for a next prompt that starts with the same tokens; nil of `Mlx.LM.Server`
  """

  alias Mlx.LM.Context

  @enforce_keys [
    :text,
    :ids,
    :finish_reason,
    :prompt_tokens,
    :prompt_tokens_per_second,
    :generated_tokens,
    :generation_tokens_per_second,
    :peak_memory,
    :context
  ]
  defstruct @enforce_keys ++ [:logprobs, :speculation, cached_tokens: 0]

  @typedoc "A token, the logarithm of its probability, and the most probable tokens with theirs."
  @type token :: %{id: non_neg_integer(), logprob: float(), top: [{non_neg_integer(), float()}]}

  @type t :: %__MODULE__{
          text: String.t(),
          ids: [non_neg_integer()],
          logprobs: [token()] | nil,
          finish_reason: :stop | :length,
          prompt_tokens: pos_integer(),
          cached_tokens: non_neg_integer(),
          prompt_tokens_per_second: float(),
          generated_tokens: pos_integer(),
          generation_tokens_per_second: float() | nil,
          peak_memory: non_neg_integer(),
          speculation: %{rounds: non_neg_integer(), drafted: non_neg_integer(), accepted: non_neg_integer()} | nil,
          context: Context.t() | nil
        }
end
