defmodule Mlx.LM.Decoder.Mixer do
  @moduledoc """
  A part of a block that looks at other positions: attention, a recurrence, a convolution over time.

  A mixer is a struct of layers and constants, whose arrays have the paths that their names in files are. Its module
  implements this behaviour, in one file. See `Mlx.LM.Decoder` for how a block calls it, and
  `lib/mlx/lm/decoder/attention.ex` for one.
  """

  alias Mlx.{Array, LM}

  @typedoc "A struct whose module implements this behaviour."
  @type t :: struct()

  @typedoc """
  What the mixers of one call share: `:ids`, the tokens `{batch, length}`, `:embedded`, the stream before the first block,
  and what an earlier mixer leaves for a later
  one, such as keys and values that layers have in common, under a key of its own.
  """
  @type step :: %{:ids => Array.t(), optional(:embedded) => Array.t(), optional(atom()) => term()}

  @doc "The mixer of these options, with zeros for arrays. They say the shapes that a file must have."
  @callback new(keyword()) :: t()

  @doc "An empty cache of the kind that the mixer needs, or `nil` when it needs none."
  @callback cache(t()) :: LM.Cache.t() | nil

  @doc """
  The outputs for `x`, `{batch, length, width}`, whose positions follow those in the cache, with the cache and the step
  for what comes next. Attention takes rows of one position each as well, `{batch, width}`.

  It builds a graph that does not depend on the length of the cache when that is an array, because it is then compiled
  once for all lengths.
  """
  @callback call(t(), Array.t(), LM.Cache.t() | nil, step()) :: {Array.t(), LM.Cache.t() | nil, step()}

  @doc """
  The mixer with matrices that are multiplied by the same input joined into one, as far as they can be. The mixer gives
  the same outputs.
  """
  @callback join(t()) :: t()

  @optional_callbacks join: 1
end
