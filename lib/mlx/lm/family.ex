defmodule Mlx.LM.Family do
  @moduledoc """
  How the models of one type differ from others: what their `config.json` says, and what their tensors are called.

      defmodule MyFamily do
        use Mlx.LM.Family

        @impl true
        def config(fields), do: Mlx.LM.Families.Plain.config(fields, norm: {:layer, 1.0e-5}, norms: :parallel)

        @impl true
        def names, do: [{"attention.dense", "self_attn.o_proj"}]
      end

      Mlx.LM.load(folder, families: %{"my_type" => MyFamily})

  `use Mlx.LM.Family` gives the functions that are not there: no other names, and tensors as they are.
  """

  alias Mlx.Array
  alias Mlx.LM.Decoder.Config
  alias Mlx.LM.Families.Fields

  @typedoc "Arrays by their names."
  @type tensors :: %{String.t() => Array.t()}

  @doc "What the decoder is made of."
  @callback config(Fields.t()) :: Config.t()

  @doc """
  What parts of names in files are called here, `{theirs, ours}`: whole parts between dots, such as
  `{"attention.wo", "self_attn.o_proj"}`. The longest one that is found in a name counts first, and no part of a name
  is replaced twice.
  """
  @callback names() :: [{String.t(), String.t()}]

  @doc "The tensors with the names and shapes that the decoder has, of those in a file, whose names are replaced already."
  @callback tensors(tensors(), Fields.t()) :: tensors()

  defmacro __using__(_options) do
    quote do
      @behaviour Mlx.LM.Family

      @impl true
      def names, do: []

      @impl true
      def tensors(tensors, _fields), do: tensors

      defoverridable names: 0, tensors: 2
    end
  end
end
