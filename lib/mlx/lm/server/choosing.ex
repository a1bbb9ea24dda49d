defmodule Mlx.LM.Server.Choosing do
  @moduledoc false
  # Chooses the next tokens of a batch, each by the sampler of its row. The most probable token comes with the step; other
  # samplers run on the row of the logits, compiled once for settings that differ in no number. A row has the tokens then
  # that it would have alone, with the same seed.

  alias Mlx.Array
  alias Mlx.LM.Sampler
  alias Mlx.LM.Server.Constraint

  @typep mask :: Array.t() | nil

  @opaque t :: (Sampler.t(), Array.t(), Array.t(), mask -> {Array.t(), Sampler.t()})

  # Of a lower temperature, every other token is too improbable for f32.
  @coldest 1.0e-30

  @doc "The function by which samplers choose."
  @spec compile() :: t()
  def compile, do: Mlx.compile(&choose/4)

  @doc "Another such function for a sampler with functions of the user's own, of which nobody else has use."
  @spec compile(t(), Sampler.t()) :: t()
  def compile(shared, sampler), do: if(shared?(sampler), do: shared, else: compile())

  @doc "Whether a sampler has no functions of the user's own."
  @spec shared?(Sampler.t()) :: boolean()
  def shared?(%Sampler{logits_processors: processors, sampler: sampler}), do: processors == [] and sampler == nil

  @doc "Whether a sampler takes the most probable token and needs nothing else."
  @spec greedy?(Sampler.t()) :: boolean()
  def greedy?(%Sampler{} = sampler) do
    sampler.temperature < @coldest and sampler.sampler == nil and sampler.logprobs == nil and sampler.recent == nil and
      sampler.logit_bias == nil
  end

  @doc """
  The token `{1}` that a sampler chooses from the row of a slot, and the sampler for the next. `mask` is that of
  `Mlx.LM.Server.Constraint.mask/2`.
  """
  @spec token(t(), Sampler.t(), Array.t(), non_neg_integer(), mask) :: {Array.t(), Sampler.t()}
  def token(choose, sampler, logits, slot, mask), do: choose.(sampler, logits, Mlx.array([slot], type: :s32), mask)

  defp choose(sampler, logits, slot, mask) do
    Sampler.sample(sampler, logits |> Mlx.take(slot, axis: 0) |> Constraint.masked(mask))
  end

  @doc "The tokens `{slots}`: the most probable ones, but for those of some slots, `%{slot => token {1}}`."
  @spec tokens(Array.t(), %{non_neg_integer() => Array.t()}) :: Array.t()
  def tokens(greedy, chosen) when chosen == %{}, do: greedy

  def tokens(%Array{shape: {slots}} = greedy, chosen) do
    Mlx.concatenate(
      for slot <- 0..(slots - 1) do
        Map.get_lazy(chosen, slot, fn -> Mlx.slice(greedy, [slot], [1]) end)
      end
    )
  end
end
