defmodule Mlx.LM.Context do
  @moduledoc """
  What a model has read: the tokens, and the caches with what it computed of them.

  A generation ends with one (`Mlx.LM.Response`). Given to the next with the option `:context`, the model reads only what
  is new in the next prompt, as in the turns of a conversation. A context can be used once, because its caches are written
  in place.

  A long prompt that many conversations start with is read once, and kept in a file:

      context = Mlx.LM.generate(lm, document, max_tokens: 1).context
      Mlx.LM.Context.save(context, lm, "document.safetensors")

      context = Mlx.LM.Context.load("document.safetensors", lm)
      Mlx.LM.generate(lm, document <> question, context: context)
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{CalledFunction, Given}
  alias Mlx.IO.FilePath
  alias Mlx.LM.{Cache, CacheChoice, ContextFile, Decoder}

  @enforce_keys [:ids, :caches]
  defstruct @enforce_keys

  @type t :: %__MODULE__{ids: [non_neg_integer()], caches: [Cache.t()]}

  @used "the context was used already, and can be used once; take that of the last response, or save it to a file " <>
          "before its use and load it from there each time (Mlx.LM.Context.save/3)"

  @doc "The context in which nothing was read."
  @spec new(Decoder.t()) :: t()
  def new(model), do: new(model, nil)

  @doc false
  def new(model, choice), do: %__MODULE__{ids: [], caches: CacheChoice.caches(model, choice)}

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

  @doc false
  # The caches of a context that was used are written in place, and the arrays that it had are gone.
  @spec check_unused!(t()) :: :ok
  def check_unused!(%__MODULE__{caches: caches}) do
    caches |> Mlx.Tree.arrays() |> Mlx.eval()
    :ok
  rescue
    error in ArgumentError ->
      if String.ends_with?(error.message, "the array was deallocated"),
        do: reraise(ArgumentError, [message: @used], __STACKTRACE__),
        else: reraise(error, __STACKTRACE__)
  end

  @doc """
  Saves a context of a model, which is an `Mlx.LM` or a decoder, to a safetensors file, with the tokens. The context can be
  used afterwards.

  The file is written whole or not at all (see `Mlx.IO`). Raises `ArgumentError` for a context in which nothing was read,
  and `Mlx.Error` when the file cannot be written.

  Python: `save_prompt_cache` of `mlx_lm.models.cache`.
  """
  @spec save(t(), Mlx.LM.t() | Decoder.t(), Path.t()) :: :ok
  def save(%__MODULE__{} = context, model, path) do
    model = decoder!(model, "save")
    path = FilePath.string!(path, :"LM.Context.save")

    CalledFunction.name("Mlx.LM.Context.save", fn ->
      check_unused!(context)
      {arrays, metadata} = ContextFile.content(context, model)
      Mlx.IO.save(path, arrays, metadata: metadata, format: :safetensors)
    end)
  end

  @doc """
  The context in a file, for the model of which it was saved, loaded in the same form.

  Its caches are of the kinds that they had. Raises `Mlx.Error` for a file that is damaged, of another model, or does not fit
  this one: each array must have the type and the shape that the model gives it.

  Python: `load_prompt_cache` of `mlx_lm.models.cache`.
  """
  @spec load(Path.t(), Mlx.LM.t() | Decoder.t()) :: t()
  def load(path, model) do
    path = FilePath.string!(path, :"LM.Context.load")
    model = decoder!(model, "load")

    CalledFunction.name("Mlx.LM.Context.load", fn ->
      path |> Mlx.IO.load(format: :safetensors, metadata: true) |> ContextFile.context(model, path)
    end)
  end

  defp decoder!(%Decoder{} = model, _function), do: model
  defp decoder!(%Mlx.LM{model: model}, _function), do: model

  defp decoder!(other, function) do
    raise ArgumentError,
          "Mlx.LM.Context.#{function}: expected the model to be an Mlx.LM or an Mlx.LM.Decoder, got: #{Given.text(other)}"
  end

  defp common_prefix([id | a], [id | b], length), do: common_prefix(a, b, length + 1)
  defp common_prefix(_a, _b, length), do: length
end
