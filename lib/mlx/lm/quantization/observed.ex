defmodule Mlx.LM.Quantization.Observed do
  @moduledoc false
  # A linear layer that notes what it reads while a model reads its calibration text.
  #
  # Of all rows x it keeps the sum of x' x, `gram`, which says how much an error in one column of its matrix, or in two
  # together, is felt; the sum of the sizes of x; and how many rows there were. Layers that read the same array share these.

  alias Mlx.{Array, NN}
  alias Mlx.LM.Decoder.SwitchFeedForward
  alias Mlx.NN.Linear

  @derive NN.Layer
  @enforce_keys [:layer, :path, :weight, :bias]
  defstruct @enforce_keys

  @type t :: %__MODULE__{}

  @typedoc "What was read: `{columns, columns}`, `{columns}`, and the number of rows."
  @type notes :: %{gram: Array.t(), sizes: Array.t(), rows: pos_integer()}

  @doc """
  Calls a function with the container whose linear layers note what they read, and gives its result, the notes by the paths
  of the layers that were first to read something, and these paths by the paths of all layers that read something.
  """
  @spec of(container, String.t(), (container -> result)) ::
          {result, %{String.t() => notes()}, %{String.t() => String.t()}}
        when container: term(), result: term()
  def of(container, prefix, fun) do
    Process.put(__MODULE__, %{notes: %{}, first: %{}, last: nil})

    watched =
      NN.map_layers(container, fn
        path, %Linear{} = layer -> watched(layer, prefix <> path)
        path, %SwitchFeedForward{} = experts -> SwitchFeedForward.map(experts, &watched(&2, "#{prefix}#{path}.#{&1}"))
        _path, layer -> layer
      end)

    result = fun.(watched)
    %{notes: notes, first: first} = Process.get(__MODULE__)
    {result, notes, first}
  after
    Process.delete(__MODULE__)
  end

  # Stacks of matrices that are no experts are called in other ways.
  defp watched(layer, path), do: %__MODULE__{layer: layer, path: path, weight: layer.weight, bias: layer.bias}

  @doc "Computes all notes so far, which lets go of what was read."
  @spec settle() :: :ok
  def settle do
    state = Process.get(__MODULE__)
    Process.put(__MODULE__, %{state | notes: Mlx.eval(state.notes), last: nil})
    :ok
  end

  @spec call(t(), Array.t()) :: Array.t()
  def call(%__MODULE__{layer: layer, path: path}, %Array{} = x) do
    note(path, x)
    NN.Layer.call(layer, x)
  end

  @doc false
  @spec call(t(), Array.t(), Array.t(), boolean()) :: Array.t()
  def call(%__MODULE__{layer: %kind{} = layer, path: path}, x, experts, sorted) do
    note(path, x)
    kind.call(layer, x, experts, sorted)
  end

  defp note(path, %Array{} = x) do
    state = %{notes: notes, first: first} = Process.get(__MODULE__)

    case {state.last, first[path]} do
      {{^x, owner}, known} when known in [nil, owner] ->
        Process.put(__MODULE__, %{state | first: Map.put(first, path, owner)})

      # A layer that shared once, and reads something else now, would mix the notes of two.
      {_last, owner} when owner not in [nil, path] ->
        Process.put(__MODULE__, %{state | last: {x, owner}})

      _own ->
        notes = Map.update(notes, path, sums(x), &added(&1, sums(x)))
        Process.put(__MODULE__, %{state | notes: notes, first: Map.put(first, path, path), last: {x, path}})
    end
  end

  defp sums(%Array{shape: shape} = x) do
    columns = elem(shape, tuple_size(shape) - 1)
    x = x |> Mlx.reshape({div(Tuple.product(shape), columns), columns}) |> Mlx.as_type(:f32)
    {rows, _columns} = x.shape
    %{gram: Mlx.matmul(Mlx.transpose(x), x), sizes: x |> Mlx.abs() |> Mlx.sum(axes: [0]), rows: rows}
  end

  defp added(a, b) do
    %{gram: Mlx.add(a.gram, b.gram), sizes: Mlx.add(a.sizes, b.sizes), rows: a.rows + b.rows}
  end
end
