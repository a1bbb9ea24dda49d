defmodule Mlx.LM.Grammar.Compiled do
  @moduledoc """
  A grammar for the tokens of one tokenizer, which `Mlx.LM.Grammar.compile/2` makes. It belongs to no process, and any number
  of texts can be written with it at a time.
  """

  alias Mlx.LM.Grammar.{Program, Vocabulary}

  @enforce_keys [:program, :vocabulary, :key]
  defstruct @enforce_keys

  @typep program :: Program.t()
  @typep vocabulary :: Vocabulary.t()

  @type t :: %__MODULE__{program: program, vocabulary: vocabulary, key: binary()}

  @doc false
  def new(program, vocabulary) do
    tables = {program, vocabulary.key}
    %__MODULE__{program: program, vocabulary: vocabulary, key: :erlang.md5(:erlang.term_to_binary(tables))}
  end

  defimpl Inspect do
    def inspect(compiled, _options), do: "#Mlx.LM.Grammar.Compiled<#{compiled.vocabulary.size} tokens>"
  end
end
