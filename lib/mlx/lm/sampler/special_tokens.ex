defmodule Mlx.LM.Sampler.SpecialTokens do
  @moduledoc false
  # The default of `:xtc_special_tokens` where a tokenizer is known: as in mlx-lm's commands, XTC leaves what ends a line or
  # the text as it is.

  alias Mlx.LM.Tokenizer

  @doc "The options of a sampler, with this default."
  @spec put(keyword(), Tokenizer.t()) :: keyword()
  def put(options, tokenizer) do
    Keyword.put_new_lazy(options, :xtc_special_tokens, fn ->
      if options[:xtc_probability] in [nil, 0, 0.0] do
        []
      else
        line = Tokenizer.encode(tokenizer, "\n", bos: false, eos: false)
        Enum.uniq(Enum.to_list(tokenizer.end_ids) ++ line)
      end
    end)
  end
end
