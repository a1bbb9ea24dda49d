defmodule Mlx.Arity do
  @moduledoc false
  # Functions of an arity that is only known at run time: what a transform returns takes as many arguments as the
  # function that it was given.

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

  @doc "The arity of a function."
  @spec of(function()) :: arity()
  def of(fun) do
    {:arity, arity} = Function.info(fun, :arity)
    arity
  end
end
