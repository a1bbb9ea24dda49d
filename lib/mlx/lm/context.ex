defmodule Mlx.LM.Context do
  @moduledoc """
  What a model has read: the tokens, and the caches with what it computed of them.

  A generation ends with one (`Mlx.LM.Response`). Given to the next with the option `:context`, the model reads only what
  is new in the next prompt, as in the turns of a conversation. A context can be used once, because its caches are written
  in place.
  """

  alias Mlx.LM.{Cache, Decoder}

  @enforce_keys [:ids, :caches]
  defstruct @enforce_keys

  @type t :: %__MODULE__{ids: [non_neg_integer()], caches: [Cache.t()]}

  @doc "The context in which nothing was read."
  @spec new(Decoder.t()) :: t()
  def new(model), do: %__MODULE__{ids: [], caches: Decoder.caches(model)}

  @doc """
  Prepares a context for a prompt: what both start with stays. Caches that cannot forget a part of what was read, those of
  recurrent layers and of sliding windows that were left, forget all of it where the prompt is no continuation.

  Returns it with the tokens that remain to be read, of which there is at least one.
  """
  @spec reuse(t(), [non_neg_integer(), ...]) :: {t(), [non_neg_integer(), ...]}
  def reuse(%__MODULE__{ids: ids, caches: caches}, prompt) do
    common = min(common_prefix(ids, prompt, 0), length(prompt) - 1)
    {caches, length} = Cache.trim_all(caches, common)
    {kept, rest} = Enum.split(prompt, length)
    {%__MODULE__{ids: kept, caches: caches}, rest}
  end

  defp common_prefix([id | a], [id | b], length), do: common_prefix(a, b, length + 1)
  defp common_prefix(_a, _b, length), do: length
end
