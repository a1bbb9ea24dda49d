defmodule Mlx.Arguments.Arity do
  @moduledoc false
  # Functions of an arity that is only known at run time: what a transform returns takes as many arguments as the
  # function that it was given.

  alias Mlx.Arguments.{ArgumentType, Given}

  @most 32

  @doc "A function of so many arguments that calls `fun` with the list of them."
  @spec function(arity(), ([term()] -> term())) :: function()
  for arity <- 0..@most do
    arguments = Macro.generate_arguments(arity, __MODULE__)
    def function(unquote(arity), fun), do: fn unquote_splicing(arguments) -> fun.(unquote(arguments)) end
  end

  def function(arity, _fun) do
    raise ArgumentError, "functions of more than #{@most} arguments cannot be transformed, got one of #{arity}"
  end

  @doc "Raises unless `fun`, which was given to the public function `name`, takes so many arguments."
  @spec check!(term(), arity(), String.t()) :: :ok
  def check!(fun, count, _name) when is_function(fun, count), do: :ok

  def check!(fun, count, name) do
    raise ArgumentError, "#{name}: expected #{ArgumentType.function_words(count)}, got: #{Given.text(fun)}"
  end

  @doc "The arity of a function."
  @spec of(function()) :: arity()
  def of(fun) do
    {:arity, arity} = Function.info(fun, :arity)
    arity
  end
end
