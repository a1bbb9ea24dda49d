defmodule Mlx.LM.Decoder.Config do
  @moduledoc """
  What a decoder is made of. Families make it (`Mlx.LM.Families`), from the configuration of a file.

  | field | |
  | --- | --- |
  | `:vocabulary`, `:width` | the tokens, and the features of the residual stream |
  | `:context_length` | the most positions |
  | `:blocks` | for each block `{branches, parts}`: the order (`Mlx.LM.Decoder.Block`), and the parts by their names |
  | `:norm` | the kind and epsilon of the last normalisation, such as `{:rms, 1.0e-6}` |
  | `:embedding_norm` | that of one after the embedding, or `nil` |
  | `:positions` | how many positions have a learned vector, which is added to the embedding, or `nil` |
  | `:layer_inputs` | options of `Mlx.LM.Decoder.LayerInputs`, a separate input of each block, or `nil` |
  | `:streams` | `{module, options}` for blocks that go on with several, such as `Mlx.LM.Decoder.Streams`, or `nil` |
  | `:tied` | whether the embedding is the output matrix too |
  | `:output_bias` | whether the output matrix has a bias |
  | `:embedding_scale` | a factor of the embedding, or `nil` |
  | `:logit_scale`, `:logit_cap` | a factor of the logits; they become `cap * tanh(logits / cap)`; or `nil` |
  | `:logit_factor` | whether the logits have a learned factor, `lm_head_gain` |
  | `:unused` | tokens whose logits are minus infinity |
  | `:loops` | how many times the stream goes through all blocks, each time with caches of their own |
  | `:loop_norm` | whether the last normalisation stands after each of these times too |

  A part is `{module, options}` for `module.new(options)`, or `{:norm, kind}` for a normalisation of the stream.
  """

  @enforce_keys [:vocabulary, :width, :context_length, :blocks, :norm]
  defstruct @enforce_keys ++
              [
                embedding_norm: nil,
                positions: nil,
                layer_inputs: nil,
                streams: nil,
                tied: false,
                output_bias: false,
                embedding_scale: nil,
                logit_scale: nil,
                logit_cap: nil,
                logit_factor: false,
                unused: [],
                loops: 1,
                loop_norm: true
              ]

  @type part :: {module(), keyword()} | {:norm, {atom() | {atom(), float()}, float()}}

  @type t :: %__MODULE__{
          vocabulary: pos_integer(),
          width: pos_integer(),
          context_length: pos_integer(),
          blocks: [{[Mlx.LM.Decoder.Block.step()], [{atom(), part()}]}],
          norm: {atom(), float()},
          embedding_norm: {atom(), float()} | nil,
          positions: pos_integer() | nil,
          layer_inputs: keyword() | nil,
          streams: {module(), keyword()} | nil,
          tied: boolean(),
          output_bias: boolean(),
          embedding_scale: number() | nil,
          logit_scale: number() | nil,
          logit_cap: number() | nil,
          logit_factor: boolean(),
          unused: [non_neg_integer()],
          loops: pos_integer(),
          loop_norm: boolean()
        }
end
