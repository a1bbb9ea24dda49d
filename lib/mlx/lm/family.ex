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

  `use Mlx.LM.Family` gives the functions that are not there: no other names, tensors as they are, and layers that are
  quantized as asked for.
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
  is replaced twice. A model is saved with the names that come first, which are those of `mlx-lm`.
  """
  @callback names() :: [{String.t(), String.t()}]

  @doc "The tensors with the names and shapes that the decoder has, of those in a file, whose names are replaced already."
  @callback tensors(tensors(), Fields.t()) :: tensors()

  @typedoc "How matrices of a decoder are one in a file: its name, the names of the parts, and what makes one of them."
  @type joint :: {String.t(), [String.t()], ([Array.t()], Fields.t() -> Array.t())}

  @doc """
  The matrices that `c:tensors/2` takes apart, for saving: each row, and so each quantized row, stays what it is.
  """
  @callback joints() :: [joint()]

  @doc "The tensors that a tensor of the decoder, with its path, is in a file, where `c:tensors/2` makes one of several."
  @callback saved(path :: String.t(), Array.t(), Fields.t()) :: [{String.t(), Array.t()}]

  @doc """
  Whether a packed layer with a path in the decoder is saved in a form that only this family has, so that
  `quantization_config` of the file says what it is.
  """
  @callback own_form?(path :: String.t(), Fields.t()) :: boolean()

  @doc "The parts of a decoder, whose layers are packed already, with layers of kinds that only this family has."
  @callback layers(parts :: term(), Fields.t()) :: term()

  @doc """
  How the layer with a path in the decoder is quantized where nobody asks for something else: as all others (`true`), not
  at all (`false`), or with other options.
  """
  @callback packing(path :: String.t()) :: boolean() | keyword()

  defmacro __using__(_options) do
    quote do
      @behaviour Mlx.LM.Family

      @impl true
      def names, do: []

      @impl true
      def tensors(tensors, _fields), do: tensors

      @impl true
      def joints, do: []

      @impl true
      def saved(path, array, _fields), do: [{path, array}]

      @impl true
      def own_form?(_path, _fields), do: false

      @impl true
      def layers(parts, _fields), do: parts

      @impl true
      def packing(_path), do: true

      defoverridable names: 0, tensors: 2, joints: 0, saved: 3, own_form?: 2, layers: 2, packing: 1
    end
  end
end
