defmodule Mlx.Training.Settings do
  @moduledoc false
  # The options of a training, checked.

  alias Mlx.Arguments.{Given, Options}
  alias Mlx.Training.Passes

  @types [:f16, :bf16, :f32]

  # option, default, whether another value is one, in words
  @options [
    {:epochs, 1, &__MODULE__.count?/1, "an integer of at least 1"},
    {:accumulate, 1, &__MODULE__.count?/1, "an integer of at least 1"},
    {:report_every, 10, &__MODULE__.count?/1, "an integer of at least 1"},
    {:prefetch, 2, &__MODULE__.count?/1, "an integer of at least 1"},
    {:clip_norm, nil, &__MODULE__.norm?/1, "a number of at least 0, or nil"},
    {:type, nil, &__MODULE__.type?/1, ":bf16, :f16, :f32 or nil"},
    {:frozen, [], &__MODULE__.any?/1, "a selection"},
    {:seed, nil, &__MODULE__.seed?/1, "an integer from 0 to 2 ** 64 - 1, or nil"},
    {:validation, nil, &__MODULE__.passes?/1,
     "an Enumerable of batches, a function of the epoch that gives one, or nil"},
    {:metrics, [], &__MODULE__.metrics?/1,
     "a keyword list of functions of a model and a batch, none of them called :loss"},
    {:early_stopping, nil, &__MODULE__.options?/1, "a keyword list or nil"},
    {:callbacks, [], &__MODULE__.callbacks?/1, "a list of functions of two arguments"},
    {:progress, :stdio, &__MODULE__.device?/1, "an IO device or nil"},
    {:checkpoint, nil, &__MODULE__.file?/1, "the path of a file that ends in .safetensors, or nil"},
    {:checkpoint_every, nil, &__MODULE__.count?/1, "an integer of at least 1, or nil"},
    {:resume, false, &is_boolean/1, "true or false"}
  ]

  @patience 1
  @most 2 ** 64 - 1

  defstruct for {name, default, _valid?, _words} <- @options, do: {name, default}

  @type t :: %__MODULE__{}

  @doc "The settings for the options of `Mlx.Training.run/5`."
  @spec new!(keyword()) :: t()
  def new!(options) do
    defaults = for {name, default, _valid?, _words} <- @options, do: {name, default}
    options = Options.complete(options, :"Training.run", defaults)

    for {name, default, valid?, words} <- @options do
      value = Keyword.fetch!(options, name)
      right? = value === default or valid?.(value)
      if not right?, do: refuse!("expected :#{name} to be #{words}, got: #{Given.text(value)}")
    end

    __MODULE__ |> struct!(options) |> with_early_stopping() |> complete!()
  end

  defp with_early_stopping(%{early_stopping: nil} = settings), do: settings

  defp with_early_stopping(%{early_stopping: options} = settings) do
    defaults = [metric: :loss, mode: :min, patience: @patience, min_delta: 0.0]
    options = Map.new(Options.complete(options, :"Training.run", defaults))
    check_early_stopping!(options, [:loss | Keyword.keys(settings.metrics)])
    %{settings | early_stopping: options}
  end

  defp check_early_stopping!(options, names) do
    cond do
      options.metric not in names ->
        words = Enum.map_join(names, ", ", &inspect/1)
        refuse!("expected :metric of :early_stopping to be one of #{words}, got: #{Given.text(options.metric)}")

      options.mode not in [:min, :max] ->
        refuse!("expected :mode of :early_stopping to be :min or :max, got: #{Given.text(options.mode)}")

      not count?(options.patience) ->
        words = "a number of epochs of at least 1"
        refuse!("expected :patience of :early_stopping to be #{words}, got: #{Given.text(options.patience)}")

      not norm?(options.min_delta) ->
        words = "a number of at least 0"
        refuse!("expected :min_delta of :early_stopping to be #{words}, got: #{Given.text(options.min_delta)}")

      true ->
        :ok
    end
  end

  # Options that say nothing without another one.
  defp complete!(settings) do
    cond do
      settings.validation == nil and settings.metrics != [] ->
        refuse!("the option :metrics needs :validation, the batches that the metrics are computed of")

      settings.validation == nil and settings.early_stopping != nil ->
        refuse!("the option :early_stopping needs :validation, the batches whose loss or metric it watches")

      settings.checkpoint == nil and settings.checkpoint_every != nil ->
        refuse!("the option :checkpoint_every needs :checkpoint, the path of the file")

      settings.checkpoint == nil and settings.resume ->
        refuse!("the option :resume needs :checkpoint, the path of the file")

      true ->
        settings
    end
  end

  defp refuse!(text), do: raise(ArgumentError, "Mlx.Training.run: #{text}")

  @doc false
  def any?(_value), do: true

  @doc false
  def count?(value), do: is_integer(value) and value >= 1

  @doc false
  def norm?(value), do: is_number(value) and value >= 0

  @doc false
  def type?(value), do: value in @types

  @doc false
  def seed?(value), do: is_integer(value) and value in 0..@most

  @doc false
  def passes?(value), do: Passes.valid?(value)

  @doc false
  def metrics?(value),
    do: options?(value) and Enum.all?(value, &match?({name, fun} when name != :loss and is_function(fun, 2), &1))

  @doc false
  def options?(value), do: Keyword.keyword?(value)

  @doc false
  def callbacks?(value), do: Mlx.Arguments.ArgumentType.list?(value) and Enum.all?(value, &is_function(&1, 2))

  @doc false
  def device?(value), do: is_atom(value) or is_pid(value)

  @doc false
  def file?(value), do: is_binary(value) and String.downcase(Path.extname(value)) == ".safetensors"
end
