defmodule Mlx.Training.Settings do
  @moduledoc false
  # The options of a training, checked.

  alias Mlx.Arguments.{OptionKinds, Options}
  alias Mlx.Distributed.Group
  alias Mlx.Training.Passes

  @passes {&Passes.valid?/1, "an Enumerable of batches, a function of the epoch that gives one"}
  @metrics {&__MODULE__.metrics?/1, "a keyword list of functions of a model and a batch, none of them called :loss"}
  @file_kind {&__MODULE__.file?/1, "the path of a file that ends in .safetensors"}

  @count {&__MODULE__.count?/1, "a function of a batch that returns an integer array"}

  @options [
    epochs: {1, :at_least_one},
    steps: {nil, {:optional, :at_least_one}},
    accumulate: {1, :at_least_one},
    report_every: {10, :at_least_one},
    prefetch: {2, :at_least_one},
    clip_norm: {nil, {:optional, :not_negative}},
    type: {nil, {:optional, {:one_of, [:bf16, :f16, :f32]}}},
    frozen: {[], :any},
    seed: {nil, {:optional, :seed}},
    group: {nil, {:optional, :group}},
    validation: {nil, {:optional, @passes}},
    validate_every: {nil, {:optional, :at_least_one}},
    metrics: {[], @metrics},
    early_stopping: {nil, {:optional, :keywords}},
    count: {nil, {:optional, @count}},
    callbacks: {[], :callbacks},
    progress: {:stdio, {:optional, :io_device}},
    checkpoint: {nil, {:optional, @file_kind}},
    checkpoint_every: {nil, {:optional, :at_least_one}},
    resume: {false, :boolean}
  ]

  # An option, the one that it says nothing without, and what that one is.
  @needed [
    {:validate_every, :validation, "the batches of which the loss is computed"},
    {:metrics, :validation, "the batches that the metrics are computed of"},
    {:early_stopping, :validation, "the batches whose loss or metric it watches"},
    {:checkpoint_every, :checkpoint, "the path of the file"},
    {:resume, :checkpoint, "the path of the file"}
  ]

  defstruct for {name, {default, _kind}} <- @options, do: {name, default}

  @type t :: %__MODULE__{}

  @doc "The settings for the options of `Mlx.Training.run/5`."
  @spec new!(keyword()) :: t()
  def new!(options) do
    given = Options.complete(options, :"Training.run", OptionKinds.defaults(@options))
    OptionKinds.check!(@options, given, "Mlx.Training.run: ")
    # So many epochs as the steps take.
    epochs = if given[:steps] && not Keyword.has_key?(options, :epochs), do: :infinity, else: given[:epochs]
    __MODULE__ |> struct!(given) |> struct!(epochs: epochs) |> with_early_stopping() |> complete!() |> for_group()
  end

  defp with_early_stopping(%{early_stopping: nil} = settings), do: settings

  defp with_early_stopping(settings) do
    kinds = early_stopping([:loss | Keyword.keys(settings.metrics)])
    options = Options.complete(settings.early_stopping, :"Training.run", OptionKinds.defaults(kinds))
    OptionKinds.check!(kinds, options, "Mlx.Training.run: ", &"#{inspect(&1)} of :early_stopping")
    %{settings | early_stopping: Map.new(options)}
  end

  defp early_stopping(names) do
    [
      metric: {:loss, {:one_of, names}},
      mode: {:min, {:one_of, [:min, :max]}},
      patience: {1, :at_least_one},
      min_delta: {0.0, :not_negative}
    ]
  end

  defp complete!(settings) do
    for {name, needed, words} <- @needed, given?(settings, name), not given?(settings, needed) do
      raise ArgumentError, "Mlx.Training.run: the option :#{name} needs :#{needed}, #{words}"
    end

    settings
  end

  defp given?(settings, name), do: Map.fetch!(settings, name) not in [nil, false, []]

  # Alone there is nothing to exchange. Of several processes the first one speaks.
  defp for_group(%{group: %Group{size: 1}} = settings), do: %{settings | group: nil}
  defp for_group(%{group: %Group{rank: rank}} = settings) when rank > 0, do: %{settings | progress: nil}
  defp for_group(settings), do: settings

  @doc false
  def metrics?(value) do
    Keyword.keyword?(value) and
      Enum.all?(value, &match?({name, fun} when name != :loss and is_function(fun, 2), &1))
  end

  @doc false
  def count?(value), do: is_function(value, 1)

  @doc false
  def file?(value), do: is_binary(value) and String.downcase(Path.extname(value)) == ".safetensors"
end
