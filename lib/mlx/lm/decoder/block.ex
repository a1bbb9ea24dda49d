defmodule Mlx.LM.Decoder.Block do
  @moduledoc """
  One block of a decoder: parts by their names, and the branches that add them to the residual stream.

  A block is a plain map, so that each configuration has the parts, and so the names, that its files have. Under
  `:branches` stands the order: a list of steps, each of which is a list of branches that are computed from the same
  stream and added to it:

      x = x + branch(x) + ...         for each step
      branch(x) = scale * after(part(before(x)))

  A step `{:through, name}` is a part whose output is the stream itself: `x = part(x)`. What a branch with `:later` gives
  is added by a later step `{:add, name}` of that name.

  | field of a branch | |
  | --- | --- |
  | `:part` | the name of the part, or a list of branches whose sum it is |
  | `:before`, `:after` | the names of normalisations, or absent |
  | `:scale` | a factor, or absent |
  | `:gate` | the name of a `Mlx.LM.Decoder.ResidualGate`, which takes the place of the sum, or absent |
  | `:later` | the name under which what it gives waits for a later step, or absent |

  For example, Llama's blocks are

      [[%{before: :input_layernorm, part: :self_attn}], [%{before: :post_attention_layernorm, part: :mlp}]]

  A part is a mixer (`Mlx.LM.Decoder.Mixer`), or a layer of `Mlx.NN`.
  """

  alias Mlx.{Array, LM}
  alias Mlx.LM.Decoder.{Mixer, ResidualGate, Rows}

  @type branch :: %{
          required(:part) => atom() | [branch()],
          optional(:before) => atom() | nil,
          optional(:after) => atom() | nil,
          optional(:scale) => number() | nil,
          optional(:gate) => atom(),
          optional(:later) => atom()
        }

  @type step :: [branch()] | {:through, atom()} | {:add, atom()}

  @type t :: %{required(:branches) => [step()], optional(atom()) => struct()}

  @doc "The mixers of a block, in the order in which they are called."
  @spec mixers(t()) :: [Mixer.t()]
  def mixers(%{branches: steps} = block) do
    for step <- steps, name <- names(step), part = Map.fetch!(block, name), mixer?(part), do: part
  end

  @doc "Empty caches, one for each mixer of the block that needs one."
  @spec caches(t()) :: [LM.Cache.t()]
  def caches(block) do
    for %module{} = mixer <- mixers(block), cache = module.cache(mixer), do: cache
  end

  defp names({:through, name}), do: [name]
  defp names({:add, _name}), do: []
  defp names(branches), do: Enum.flat_map(branches, &if(is_list(&1.part), do: names(&1.part), else: [&1.part]))

  @doc "Whether a part is a mixer."
  @spec mixer?(struct()) :: boolean()
  def mixer?(%module{}), do: Code.ensure_loaded?(module) and function_exported?(module, :cache, 1)

  @doc """
  The outputs for `x`, `{batch, length, width}` or rows of one position each, `{batch, width}`, with the caches that the
  mixers of the block left, the last one first, those that are not yet used, and the step.
  """
  @spec call(t(), Array.t(), {[LM.Cache.t()], [LM.Cache.t()]}, Mixer.step()) ::
          {Array.t(), {[LM.Cache.t()], [LM.Cache.t()]}, Mixer.step()}
  def call(%{branches: steps} = block, x, caches, step) do
    Enum.reduce(steps, {x, caches, step}, fn
      {:through, name}, {x, caches, step} -> part(block, name, x, caches, step)
      {:add, name}, {x, caches, step} -> {Mlx.add(x, Map.fetch!(step, name)), caches, Map.delete(step, name)}
      branches, {x, caches, step} -> sum(block, branches, x, x, caches, step)
    end)
  end

  # `start` and what the branches give for `x`.
  defp sum(block, branches, start, x, caches, step) do
    Enum.reduce(branches, {start, caches, step}, fn branch, {sum, caches, step} ->
      {y, caches, step} = branch(block, branch, x, caches, step)

      case branch do
        %{later: name} -> {sum, caches, Map.put(step, name, y)}
        %{gate: name} -> {ResidualGate.call(Map.fetch!(block, name), sum, y), caches, step}
        _now -> {if(sum, do: Mlx.add(sum, y), else: y), caches, step}
      end
    end)
  end

  defp branch(block, %{part: part} = branch, x, caches, step) do
    x = normalized(block, branch[:before], x)
    {y, caches, step} = part(block, part, x, caches, step)
    y = normalized(block, branch[:after], y)
    {if(branch[:scale], do: Mlx.multiply(y, branch[:scale]), else: y), caches, step}
  end

  defp normalized(_block, nil, x), do: x
  defp normalized(block, name, x), do: Rows.call(Map.fetch!(block, name), x)

  defp part(block, branches, x, caches, step) when is_list(branches), do: sum(block, branches, nil, x, caches, step)

  defp part(block, name, x, {used, left}, step) do
    %module{} = part = Map.fetch!(block, name)

    cond do
      not mixer?(part) ->
        {Rows.call(part, x), {used, left}, step}

      module.cache(part) == nil ->
        {y, nil, step} = module.call(part, x, nil, step)
        {y, {used, left}, step}

      true ->
        [cache | left] = left
        {y, cache, step} = module.call(part, x, cache, step)
        {y, {[cache | used], left}, step}
    end
  end
end
