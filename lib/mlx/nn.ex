defmodule Mlx.NN do
  @moduledoc """
  Neural networks: layers, and models that are made of them.

  A layer is a struct. The arrays in it are its parameters, everything else is constant. A model is a layer too, see
  `Mlx.NN.Layer`, and a list of layers is a model that calls them one after another:

      iex> model = [Mlx.NN.Linear.new(2, 8), &Mlx.NN.Activations.relu/1, Mlx.NN.Linear.new(8, 1)]
      iex> Mlx.zeros({5, 2}) |> Mlx.NN.forward(model) |> Mlx.shape()
      {5, 1}

  ## Parameters

  A model is a container (see `Mlx.Tree`). The path of a parameter is its name in files, the same as in Python, so
  loading is strict without a table: `path |> Mlx.IO.load() |> Mlx.Tree.unflatten(model)` raises unless the names are those
  of the model.

      iex> for {path, _array} <- Mlx.Tree.flatten(%{encoder: [Mlx.NN.Linear.new(2, 3)]}), do: path
      ["encoder.0.bias", "encoder.0.weight"]

  Another type for all of them is `Mlx.Tree.map(model, &Mlx.as_type(&1, :bf16))`.

  ## Training

  `value_and_grad/2` gives the value of a loss, its gradients and the model after the call. A step of gradient descent:

      iex> loss = fn model, x, y -> x |> Mlx.NN.forward(model) |> Mlx.NN.Losses.mse_loss(y) end
      iex> model = Mlx.NN.Linear.new(1, 1)
      iex> {x, y} = {Mlx.array([[1.0], [2.0]]), Mlx.array([[2.0], [4.0]])}
      iex> step = Mlx.compile(fn model ->
      ...>   {value, gradients, model} = Mlx.NN.value_and_grad(loss).(model, x, y)
      ...>   {value, Mlx.Tree.map(gradients, [model], fn gradient, array -> Mlx.subtract(array, Mlx.multiply(0.1, gradient)) end)}
      ...> end)
      iex> {first, model} = step.(model)
      iex> {second, _model} = step.(model)
      iex> Mlx.to_number(Mlx.less(second, first))
      true

  `Mlx.Training` has the loop, with batches, validation and checkpoints. What is trained is a choice: see `freeze/2`. Some
  arrays never are: running statistics, the weights of quantized layers, and arrays of integers.

  ## State

  Nothing changes in place. What a forward pass changes, the running statistics of `Mlx.NN.BatchNorm`, is in the model that
  `value_and_grad/2` and `run/2` return. They find it inside of `Mlx.compile/2`, `Mlx.checkpoint/1`, `Mlx.vmap/2` and
  gradients, too; of statistics that slices share and each of them changes, the mean. Other transforms, and calls outside
  of these two functions, leave the statistics as they are.

  Dropout takes its random numbers from the sequence of the process, or in a compiled function from
  `Mlx.Random.with_state/2`.

  Models are made for training. `eval/1` gives a copy in which dropout does nothing and batch normalisation uses its
  running statistics, and `train/1` one for training again.

  Python: `mlx.nn`.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.{Array, Tree}
  alias Mlx.Arguments.{Arity, CalledFunction, Options}
  alias Mlx.Distributed.Collective
  alias Mlx.NN.{AllToShardedLinear, Embedding, FullyShardedModule, GradientAverage, Layer, Layers, Linear, QQLinear}
  alias Mlx.NN.{QuantizedAllToShardedLinear, QuantizedEmbedding, QuantizedLinear, QuantizedShardedToAllLinear}
  alias Mlx.NN.{Selection, ShardedToAllLinear, Sharding}
  alias Mlx.Transforms.Replacement

  @of_containers ~w(Mlx.Tree Mlx.Tree.flatten Mlx.Tree.map_with_path Mlx.Tree.merge Mlx.Tree.partition)

  @typedoc """
  Some arrays of a model:

    * a path: the array there, or all arrays below it, so that `""` is the whole model
    * a regular expression: the arrays whose paths match
    * a module such as `Mlx.NN.Embedding`: the arrays of its layers
    * a function of a path and an array: those for which it is true
    * a list: those of any of its elements
  """
  @type selection ::
          String.t() | Regex.t() | module() | (String.t(), Array.t() -> as_boolean(term())) | [selection()]

  @typedoc """
  How the arrays of a layer are cut into parts, one for each process:

    * `:all_to_sharded` - for outputs of which each process has a part: along the outputs
    * `:sharded_to_all` - for inputs of which each process has a part: along the inputs, and no bias
    * a function of a path and an array that returns the axis, `{axis, segments}`, or nil for an array that stays whole
  """
  @type sharding ::
          :all_to_sharded | :sharded_to_all | (String.t(), Array.t() -> nil | integer() | {integer(), segments()})

  @typedoc "See `shard/3`."
  @type segments :: pos_integer() | [non_neg_integer()] | [float()]

  @doc """
  The output of a layer for an input.

  A layer is a struct that implements `Mlx.NN.Layer`, a function of one argument, or a list of layers that are called one
  after another.

      iex> Mlx.array([[1.0, -2.0]]) |> Mlx.NN.forward(&Mlx.negate/1) |> Mlx.NN.forward([Mlx.NN.ReLU.new()]) |> Mlx.to_list()
      [[0.0, 2.0]]

  Python: `Module.__call__`.
  """
  @spec forward(term(), Layer.t()) :: term()
  def forward(input, layer) when is_struct(layer) or is_function(layer, 1) or length(layer) >= 0 do
    Layer.call(layer, input)
  end

  def forward(_input, other) do
    raise ArgumentError,
          "Mlx.NN.forward: expected a layer, which is a struct, a function of one argument or a list of layers, " <>
            "got: #{Mlx.Arguments.Given.text(other)}"
  end

  @doc """
  Calls a function with a model, and returns its result and the model with the running statistics that the call computed.

      iex> model = Mlx.NN.BatchNorm.new(2, momentum: 0.5)
      iex> x = Mlx.array([[1.0, 2.0], [3.0, 6.0]])
      iex> {y, model} = Mlx.NN.run(model, &Mlx.NN.forward(x, &1))
      iex> {Mlx.shape(y), Mlx.to_list(model.running_mean)}
      {{2, 2}, [1.0, 2.0]}

  Python: none; a module changes when it is called.
  """
  @spec run(model, (model -> result)) :: {result, model} when model: term(), result: term()
  def run(model, fun) do
    Arity.check!(fun, 1, "Mlx.NN.run")
    {result, pairs} = Replacement.collect(fn -> fun.(model) end)
    {result, Replacement.put(model, pairs)}
  end

  @doc """
  A function that gives the value of `fun`, its gradients, and the model after the call.

  `fun` takes a model, and whatever else; it returns a scalar, or a container whose first array is one. The returned
  function takes the same arguments and returns `{value, gradients, model}`. The gradients have the form of the model, with
  `nil` in place of each array that is not trained. The model has the running statistics that the call computed.

  Options:

    * `:frozen` - what is not trained besides what never is, a `t:selection/0`; default `[]`

  Examples:

      iex> loss = fn layer, x -> Mlx.sum(Mlx.NN.forward(x, layer)) end
      iex> layer = Mlx.NN.Linear.new(2, 1)
      iex> {_value, gradients, _layer} = Mlx.NN.value_and_grad(loss, frozen: "bias").(layer, Mlx.array([[3.0, 4.0]]))
      iex> {Mlx.to_list(gradients.weight), gradients.bias}
      {[[3.0, 4.0]], nil}

  Raises `ArgumentError` where nothing is left to train. Python: `mlx.nn.value_and_grad`.
  """
  @spec value_and_grad(function(), keyword()) :: function()
  def value_and_grad(fun, options \\ [])

  def value_and_grad(fun, options) when is_function(fun) and not is_function(fun, 0) do
    [frozen] = Options.without_stream(options, :"NN.value_and_grad", frozen: [])

    Arity.function(Arity.of(fun), fn [model | inputs] ->
      {trained, kept} = partition(model, frozen, :value_and_grad)
      loss = fn trained, kept, inputs -> apply(fun, [Tree.merge(trained, kept) | inputs]) end
      {{value, gradients}, pairs} = Replacement.collect(fn -> differentiate(loss, [trained, kept, inputs]) end)
      {value, gradients, Replacement.put(model, pairs)}
    end)
  end

  defp differentiate(loss, arguments) do
    CalledFunction.name("Mlx.NN.value_and_grad", ["Mlx.value_and_grad"], fn ->
      apply(Mlx.value_and_grad(loss), arguments)
    end)
  end

  @doc """
  A model in two parts: what is trained, and what is not. Both have the form of the model, with `nil` in place of the arrays
  of the other, and `Mlx.Tree.merge/2` puts them together.

  What was selected is not trained, and neither are running statistics, the weights of quantized layers, and arrays of
  integers, which never are.

      iex> model = [Mlx.NN.Linear.new(2, 3), Mlx.NN.Linear.new(3, 1)]
      iex> {trained, frozen} = Mlx.NN.freeze(model, "0")
      iex> {for({path, _array} <- Mlx.Tree.flatten(trained), do: path), Mlx.Tree.merge(trained, frozen) == model}
      {["1.bias", "1.weight"], true}

  The option `:frozen` of `value_and_grad/2` takes the same selections. Python: `Module.freeze`,
  `Module.trainable_parameters`.
  """
  @spec freeze(model, selection()) :: {model, model} when model: term()
  def freeze(model, selection \\ []), do: partition(model, selection, :freeze)

  defp partition(model, selection, function) do
    named(function, fn -> Selection.partition(model, selection, "Mlx.NN.#{function}") end)
  end

  # Containers are walked by functions of `Mlx.Tree`.
  defp named(function, fun), do: CalledFunction.name("Mlx.NN.#{function}", @of_containers, fun)

  @doc """
  Moves arrays from the second of the parts that `freeze/2` gives to the first, but for what is never trained.

      iex> model = [Mlx.NN.Linear.new(2, 3), Mlx.NN.Linear.new(3, 1)]
      iex> {trained, _frozen} = model |> Mlx.NN.freeze("") |> Mlx.NN.unfreeze(["0.bias", "1"])
      iex> for {path, _array} <- Mlx.Tree.flatten(trained), do: path
      ["0.bias", "1.bias", "1.weight"]

  Python: `Module.unfreeze`.
  """
  @spec unfreeze({model, model}, selection()) :: {model, model} when model: term()
  def unfreeze({_trained, _frozen} = parts, selection) do
    named(:unfreeze, fn -> Selection.release(parts, selection, "Mlx.NN.unfreeze") end)
  end

  @doc """
  A copy of a model for training: dropout and batch normalisation do what they do in training. Models are made so.

  It sets the field `training` of all layers that have it, those of your own too, to true. Weights that `eval/1` quantized
  for `Mlx.NN.QQLinear` are as they were.

      iex> model = Mlx.NN.eval([Mlx.NN.Dropout.new()])
      iex> [%Mlx.NN.Dropout{training: true}] = Mlx.NN.train(model)

  Python: `Module.train`, `QQLinear.dequantize`.
  """
  @spec train(model) :: model when model: term()
  def train(model), do: named(:train, fn -> with_mode(model, true) end)

  @doc """
  A copy of a model for use: dropout does nothing, and batch normalisation uses its running statistics.

  It sets the field `training` of all layers that have it to false, and quantizes the weights of `Mlx.NN.QQLinear`.

      iex> model = Mlx.NN.eval([Mlx.NN.Dropout.new(p: 0.9)])
      iex> Mlx.ones({4}) |> Mlx.NN.forward(model) |> Mlx.to_list()
      [1.0, 1.0, 1.0, 1.0]

  Python: `Module.eval`, `QQLinear.quantize`.
  """
  @spec eval(model) :: model when model: term()
  def eval(model), do: named(:eval, fn -> with_mode(model, false) end)

  defp with_mode(model, training) do
    Layers.map(model, fn
      _path, %QQLinear{} = layer -> QQLinear.with_mode(layer, training)
      _path, %{training: _former} = layer -> %{layer | training: training}
      _path, layer -> layer
    end)
  end

  @doc """
  The model with each of its layers replaced by what a function of the layer's path and the layer returns.

  Layers are the structs in the model that are no arrays, the model itself among them, with the path `""`. A layer comes
  after those inside of it. The function returns whatever it does not mean as it is.

      iex> model = %{norm: Mlx.NN.LayerNorm.new(2), layers: [Mlx.NN.Linear.new(2, 2), Mlx.NN.Linear.new(2, 1)]}
      iex> without_bias = fn
      ...>   "layers." <> _, %Mlx.NN.Linear{} = layer -> %{layer | bias: nil}
      ...>   _path, layer -> layer
      ...> end
      iex> for {path, _array} <- model |> Mlx.NN.map_layers(without_bias) |> Mlx.Tree.flatten(), do: path
      ["layers.0.weight", "layers.1.weight", "norm.bias", "norm.weight"]

  Python: `Module.update_modules`, `Module.apply_to_modules`.
  """
  @spec map_layers(term(), (String.t(), struct() -> term())) :: term()
  def map_layers(model, fun) do
    Arity.check!(fun, 2, "Mlx.NN.map_layers")
    named(:map_layers, fn -> Layers.map(model, fun) end)
  end

  @doc """
  The model with quantized layers in place of `Mlx.NN.Linear` and `Mlx.NN.Embedding`.

  Options:

    * `:group_size`, `:bits`, `:mode` - those of `Mlx.quantize/2`, with the same defaults
    * `:quantize_input` - whether linear layers become `Mlx.NN.QQLinear`, default false. The mode is then `:nvfp4` or
      `:mxfp8`, and the layers have no bias. Embeddings have to be left out by `:where`.
    * `:where` - a function of the path and the layer that says whether to quantize it: true, false, or a keyword list with
      other options for the layer. By default all are.

  Examples:

      iex> model = %{embed: Mlx.NN.Embedding.new(10, 64), output: Mlx.NN.Linear.new(64, 10)}
      iex> model = Mlx.NN.quantize(model, where: fn path, _layer -> if path == "output", do: [bits: 8], else: true end)
      iex> {model.embed.bits, model.output.bits}
      {4, 8}

  Python: `mlx.nn.quantize`.
  """
  @spec quantize(term(), keyword()) :: term()
  def quantize(model, options \\ []) do
    {[where: where], settings} = options |> quantization() |> Keyword.split([:where])
    Arity.check!(where, 2, "Mlx.NN.quantize")

    named(:quantize, fn ->
      Layers.map(model, fn
        path, %module{} = layer when module in [Linear, Embedding] -> quantized(layer, where.(path, layer), settings)
        _path, layer -> layer
      end)
    end)
  end

  defp quantization(options) do
    defaults = [group_size: nil, bits: nil, mode: :affine, quantize_input: false, where: fn _path, _layer -> true end]
    Options.complete(options, :"NN.quantize", defaults)
  end

  defp quantized(layer, false, _settings), do: layer

  defp quantized(layer, others, _settings) when is_list(others) do
    quantized(layer, true, others |> quantization() |> Keyword.delete(:where))
  end

  defp quantized(layer, true, settings) do
    {[quantize_input: quantize_input], packing} = Keyword.split(settings, [:quantize_input])

    CalledFunction.name("Mlx.NN.quantize", fn ->
      case {layer, quantize_input} do
        {%Embedding{}, false} ->
          QuantizedEmbedding.from_embedding(layer, packing)

        {%Embedding{}, _true} ->
          raise ArgumentError, "an embedding has no input to quantize; leave it out with :where"

        {%Linear{}, false} ->
          QuantizedLinear.from_linear(layer, packing)

        {%Linear{}, _true} ->
          QQLinear.from_linear(layer, packing)
      end
    end)
  end

  defp quantized(_layer, other, _settings) do
    raise ArgumentError,
          "Mlx.NN.quantize: expected :where to return true, false or a keyword list, got: #{Mlx.Arguments.Given.text(other)}"
  end

  @doc """
  The layers of a model with their paths, in the order of `map_layers/2`.

      iex> for {path, %module{}} <- Mlx.NN.layers([Mlx.NN.Sequential.new([Mlx.NN.ReLU.new()])]), do: {path, module}
      [{"0.layers.0", Mlx.NN.ReLU}, {"0", Mlx.NN.Sequential}]

  Python: `Module.named_modules`, `Module.modules`.
  """
  @spec layers(term()) :: [{String.t(), struct()}]
  def layers(model), do: named(:layers, fn -> Layers.all(model) end)

  @doc """
  How many numbers a model has: those that are trained, those that are not, and the bytes of all.

  Options:

    * `:frozen` - what is not trained besides what never is, a `t:selection/0`; default `[]`

  Examples:

      iex> Mlx.NN.parameter_count([Mlx.NN.Linear.new(2, 3), Mlx.NN.BatchNorm.new(3)])
      %{trained: 15, kept: 6, bytes: 84}

  Of a quantized weight the packed numbers count. Python: none.
  """
  @spec parameter_count(term(), keyword()) :: %{
          trained: non_neg_integer(),
          kept: non_neg_integer(),
          bytes: non_neg_integer()
        }
  def parameter_count(model, options \\ []) do
    [frozen] = Options.without_stream(options, :"NN.parameter_count", frozen: [])
    {trained, kept} = partition(model, frozen, :parameter_count)
    bytes = model |> Tree.arrays() |> Enum.sum_by(&Mlx.byte_size/1)
    %{trained: size(trained), kept: size(kept), bytes: bytes}
  end

  defp size(container), do: container |> Tree.arrays() |> Enum.sum_by(&Mlx.size/1)

  @doc """
  The mean of gradients over processes, each of which has computed them for other data.

  All have gradients of the same form. Small arrays of one type go together, as every exchange takes time. In a compiled
  step MLX compiles what comes before and after the exchange.

  Options:

    * `:group` - the processes, default `Mlx.Distributed.init()`
    * `:all_reduce_size` - arrays go together until they have so many bytes, default 32 MB (`32 * 1024 * 1024`). With 0
      each goes by itself
    * `:communication_type` - the type in which the arrays are sent and summed, such as `:bf16`; by default their own
    * `:timeout` - in milliseconds for each exchange, default `:infinity`

  Examples:

      iex> gradients = %{weight: Mlx.array([[1.0, 2.0]]), bias: nil}
      iex> Mlx.NN.average_gradients(gradients).weight |> Mlx.to_list()
      [[1.0, 2.0]]

  Python: `mlx.nn.average_gradients`.
  """
  @spec average_gradients(gradients, keyword()) :: gradients when gradients: Tree.t()
  def average_gradients(gradients, options \\ []) do
    defaults = [group: nil, all_reduce_size: 32 * 1024 * 1024, communication_type: nil, timeout: :infinity]
    settings = Options.complete(options, :"NN.average_gradients", defaults)
    group = Sharding.group!(settings[:group], "Mlx.NN.average_gradients")

    if not is_integer(settings[:all_reduce_size]) do
      raise ArgumentError,
            "Mlx.NN.average_gradients: expected :all_reduce_size to be a number of bytes, " <>
              "got: #{Mlx.Arguments.Given.text(settings[:all_reduce_size])}"
    end

    if group.size == 1 do
      gradients
    else
      CalledFunction.name("Mlx.NN.average_gradients", fn ->
        GradientAverage.average(gradients, Keyword.put(settings, :group, group))
      end)
    end
  end

  @doc """
  The array itself; its gradient is summed over processes. For what all processes have, where each goes on to compute a part
  of the result.

  Options:

    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> Mlx.grad(&Mlx.square(Mlx.NN.sum_gradients(&1))).(Mlx.array(3.0)) |> Mlx.to_number()
      6.0

  Python: `sum_gradients`, in the module of its sharded layers.
  """
  @spec sum_gradients(Array.t(), keyword()) :: Array.t()
  def sum_gradients(x, options \\ [])

  def sum_gradients(%Array{} = x, options) do
    [group] = Options.without_stream(options, :"NN.sum_gradients", group: nil)
    Collective.sum_cotangents(x, Sharding.group!(group, "Mlx.NN.sum_gradients"))
  end

  @doc """
  The layer, or model, with the part of this process in place of each of its arrays.

  `sharding` says how they are cut, see `t:sharding/0`. What the layer computes stays the same, so that it has to exchange
  arrays itself where that is needed: see `shard_linear/3`.

  Options:

    * `:segments` - how many matrices a weight joins beside each other, for `:all_to_sharded` and `:sharded_to_all`;
      default 1. Each matrix is cut by itself: of a weight with queries, keys and values, a process gets a part of each. A
      list gives the positions where the second matrix and the ones after it begin, as integers or as fractions of the
      axis
    * `:group` - the processes, default `Mlx.Distributed.init()`

  Examples:

      iex> layer = Mlx.NN.Linear.new(2, 6)
      iex> Mlx.NN.shard(layer, :all_to_sharded, segments: 3).weight.shape
      {6, 2}

  Raises `ArgumentError` when the processes cannot share an axis equally. Python: `shard_inplace`, in the module of its
  sharded layers.
  """
  @spec shard(layer, sharding(), keyword()) :: layer when layer: Tree.t()
  def shard(layer, sharding, options \\ []) do
    {group, segments} = Sharding.options(options, "Mlx.NN.shard")
    named(:shard, fn -> Sharding.shard(layer, sharding, segments, group, "Mlx.NN.shard") end)
  end

  @doc """
  The part of this process in a linear layer, which exchanges arrays with the other processes.

  Of an `Mlx.NN.Linear` or `Mlx.NN.QuantizedLinear` it makes, for `:all_to_sharded`, an `Mlx.NN.AllToShardedLinear` or
  `Mlx.NN.QuantizedAllToShardedLinear`: each process has a part of the outputs. For `:sharded_to_all` it makes an
  `Mlx.NN.ShardedToAllLinear` or `Mlx.NN.QuantizedShardedToAllLinear`, which takes such outputs and gives all processes
  the same.

  Options:

    * `:segments`, `:group` - those of `shard/3`

  Examples:

      iex> block = %{up: Mlx.NN.Linear.new(4, 8), down: Mlx.NN.Linear.new(8, 4)}
      iex> block = Mlx.NN.map_layers(block, fn
      ...>   "up", layer -> Mlx.NN.shard_linear(layer, :all_to_sharded)
      ...>   "down", layer -> Mlx.NN.shard_linear(layer, :sharded_to_all)
      ...> end)
      iex> {block.up.__struct__, block.down.__struct__}
      {Mlx.NN.AllToShardedLinear, Mlx.NN.ShardedToAllLinear}

  Raises `ArgumentError` when the processes cannot share the outputs, or the inputs, equally. Python: `shard_linear`, in
  the module of its sharded layers.
  """
  @spec shard_linear(Linear.t() | QuantizedLinear.t(), :all_to_sharded | :sharded_to_all, keyword()) ::
          AllToShardedLinear.t()
          | ShardedToAllLinear.t()
          | QuantizedAllToShardedLinear.t()
          | QuantizedShardedToAllLinear.t()
  def shard_linear(layer, sharding, options \\ [])

  for {layer, sharding, sharded, function} <- [
        {Linear, :all_to_sharded, AllToShardedLinear, :from_linear},
        {Linear, :sharded_to_all, ShardedToAllLinear, :from_linear},
        {QuantizedLinear, :all_to_sharded, QuantizedAllToShardedLinear, :from_quantized_linear},
        {QuantizedLinear, :sharded_to_all, QuantizedShardedToAllLinear, :from_quantized_linear}
      ] do
    def shard_linear(%unquote(layer){} = layer, unquote(sharding), options) do
      from = unquote("#{inspect(sharded)}.#{function}")
      CalledFunction.name("Mlx.NN.shard_linear", [from], fn -> unquote(sharded).unquote(function)(layer, options) end)
    end
  end

  @doc """
  The layer with only a part of its arrays in this process, as an `Mlx.NN.FullyShardedModule`. In a group of one process,
  and where it has no arrays, it is the layer itself.

  Options:

    * `:group` - the processes, default `Mlx.Distributed.init()`
    * `:compute_type` - the type that gathered arrays of floating-point numbers have

  Examples:

      iex> model = [Mlx.NN.Linear.new(2, 4), Mlx.NN.ReLU.new(), Mlx.NN.Linear.new(4, 2)]
      iex> Mlx.NN.map_layers(model, fn _path, layer -> Mlx.NN.fully_shard(layer) end) == model
      true

  Raises `ArgumentError` when the processes cannot share the first axis of each array equally. Python:
  `mlx.nn.fully_shard`.
  """
  @spec fully_shard(Layer.t(), keyword()) :: Layer.t() | FullyShardedModule.t()
  def fully_shard(layer, options \\ []) do
    [group, type] = Options.without_stream(options, :"NN.fully_shard", group: nil, compute_type: nil)
    group = Sharding.group!(group, "Mlx.NN.fully_shard")

    if group.size == 1 or is_struct(layer, FullyShardedModule) or Tree.arrays(layer) == [] do
      layer
    else
      CalledFunction.name("Mlx.NN.fully_shard", ["Mlx.NN.FullyShardedModule.new"], fn ->
        FullyShardedModule.new(layer, group: group, compute_type: type)
      end)
    end
  end
end
