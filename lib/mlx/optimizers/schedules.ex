defmodule Mlx.Optimizers.Schedules do
  @moduledoc """
  Learning rates that change with the steps.

  A schedule is a function of the number of steps made so far, a scalar array, that returns the rate of the next one. An
  optimizer takes it in place of a number.

      iex> alias Mlx.Optimizers.{Adam, Schedules}
      iex> warmup = Schedules.linear_schedule(0.0, 0.1, 10)
      iex> optimizer = Adam.new(Schedules.join_schedules([warmup, Schedules.cosine_decay(0.1, 200)], [10]))
      iex> Mlx.Optimizers.init(optimizer, Mlx.array(1.0)).learning_rate |> Mlx.to_number()
      0.0

  A schedule of array operations gives the rates of many steps at once, to look at them:

      iex> Mlx.Optimizers.Schedules.linear_schedule(0.0, 4.0, 4).(Mlx.arange(6)) |> Mlx.to_list()
      [0.0, 1.0, 2.0, 3.0, 4.0, 4.0]

  Python: `mlx.optimizers`.
  """

  use Mlx.Arguments.Mismatch
  use Mlx.Operators

  alias Mlx.Array
  alias Mlx.Arguments.{Given, Options}

  @typedoc "The rate of the next step, from the number of steps made so far."
  @type t :: (Array.t() -> Array.operand())

  @doc """
  `init` times `decay_rate` to the power of the step.

      iex> schedule = Mlx.Optimizers.Schedules.exponential_decay(0.5, 0.5)
      iex> schedule.(Mlx.arange(4)) |> Mlx.to_list()
      [0.5, 0.25, 0.125, 0.0625]

  Python: `mlx.optimizers.exponential_decay`.
  """
  @spec exponential_decay(number(), number()) :: t()
  def exponential_decay(init, decay_rate) when is_number(init) and is_number(decay_rate) do
    fn step -> init * decay_rate ** step end
  end

  @doc """
  `init`, multiplied by `decay_rate` after every `step_size` steps.

      iex> schedule = Mlx.Optimizers.Schedules.step_decay(1.0, 0.5, 2)
      iex> schedule.(Mlx.arange(5)) |> Mlx.to_list()
      [1.0, 1.0, 0.5, 0.5, 0.25]

  Python: `mlx.optimizers.step_decay`.
  """
  @spec step_decay(number(), number(), pos_integer()) :: t()
  def step_decay(init, decay_rate, step_size)
      when is_number(init) and is_number(decay_rate) and is_integer(step_size) do
    check_steps!(step_size, :step_decay)
    fn step -> init * decay_rate ** Mlx.floor_divide(step, step_size) end
  end

  @doc """
  Half a wave of a cosine, from `init` down to the value of the option `:end`, default 0.0, in `decay_steps` steps. Later
  the rate stays there.

      iex> schedule = Mlx.Optimizers.Schedules.cosine_decay(1.0, 2, end: 0.5)
      iex> schedule.(Mlx.arange(4)) |> Mlx.to_list() |> Enum.map(&Float.round(&1, 4))
      [1.0, 0.75, 0.5, 0.5]

  I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017,
  [arXiv:1608.03983](https://arxiv.org/abs/1608.03983). Python: `mlx.optimizers.cosine_decay`.
  """
  @spec cosine_decay(number(), pos_integer(), keyword()) :: t()
  def cosine_decay(init, decay_steps, options \\ [])

  def cosine_decay(init, decay_steps, options) when is_number(init) and is_integer(decay_steps) do
    [last] = Options.without_stream(options, :"Optimizers.Schedules.cosine_decay", end: 0.0)
    check_steps!(decay_steps, :cosine_decay)

    if not is_number(last) do
      raise ArgumentError,
            "Mlx.Optimizers.Schedules.cosine_decay: expected :end to be a number, got: #{Given.text(last)}"
    end

    fn step -> last + 0.5 * (1.0 + Mlx.cos(:math.pi() / decay_steps * min(step, decay_steps))) * (init - last) end
  end

  @doc """
  A line from `init` to `last` in so many steps. Later the rate stays there.

      iex> schedule = Mlx.Optimizers.Schedules.linear_schedule(1.0, 0.0, 4)
      iex> schedule.(Mlx.arange(6)) |> Mlx.to_list()
      [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]

  Python: `mlx.optimizers.linear_schedule`.
  """
  @spec linear_schedule(number(), number(), pos_integer()) :: t()
  def linear_schedule(init, last, steps) when is_number(init) and is_number(last) and is_integer(steps) do
    check_steps!(steps, :linear_schedule)
    fn step -> min(step, steps) * ((last - init) / steps) + init end
  end

  @doc """
  Schedules one after another: the next one from each boundary on, a number of steps. Each counts its steps from its
  boundary.

      iex> {up, down} = {fn step -> step end, Mlx.Optimizers.Schedules.linear_schedule(2.0, 0.0, 4)}
      iex> Mlx.Optimizers.Schedules.join_schedules([up, down], [2]).(Mlx.arange(6)) |> Mlx.to_list()
      [0.0, 1.0, 2.0, 1.5, 1.0, 0.5]

  Raises `ArgumentError` when the boundaries are not one fewer than the schedules. Python: `mlx.optimizers.join_schedules`.
  """
  @spec join_schedules([t()], [integer()]) :: t()
  def join_schedules(schedules, boundaries) when length(schedules) >= 0 and length(boundaries) >= 0 do
    if not (Enum.all?(schedules, &is_function(&1, 1)) and Enum.all?(boundaries, &is_integer/1)) do
      raise ArgumentError,
            "Mlx.Optimizers.Schedules.join_schedules: expected functions of one argument and integers, " <>
              "got: #{Given.text(schedules)}, #{Given.text(boundaries)}"
    end

    if length(schedules) != length(boundaries) + 1 do
      raise ArgumentError,
            "Mlx.Optimizers.Schedules.join_schedules: expected one boundary fewer than schedules, " <>
              "got: #{length(boundaries)} and #{length(schedules)}"
    end

    fn step -> joined(schedules, boundaries, step) end
  end

  defp joined([first | later], boundaries, step) do
    for {schedule, boundary} <- Enum.zip(later, boundaries), reduce: first.(step) do
      rate -> Mlx.select(step < boundary, rate, schedule.(step - boundary))
    end
  end

  defp check_steps!(steps, function) do
    if steps < 1 do
      raise ArgumentError,
            "Mlx.Optimizers.Schedules.#{function}: expected a number of steps of at least 1, got: #{inspect(steps)}"
    end
  end
end
