defmodule Mlx.LM.ChatTemplate.Problem do
  @moduledoc false
  # What goes wrong while a chat template is read or rendered, and how large its values may get.
  #
  # A problem is thrown as `{:problem, text}`, because the code that finds it does not know the line. Whoever knows the line
  # turns it into `Mlx.Error` with `locate/2`.

  # Bytes of a string. An element of a list counts as `@element` bytes.
  @max_size 8_388_608
  @element 16

  @doc "Throws a problem."
  @spec fail(String.t()) :: no_return
  def fail(text), do: throw({:problem, text})

  @doc "Runs `fun`; a problem in it is raised as `Mlx.Error` with the line in front."
  @spec locate(pos_integer, (-> result)) :: result when result: term
  def locate(line, fun) do
    fun.()
  catch
    {:problem, text} -> raise Mlx.Error, message: "chat template, line #{line}: #{text}"
  end

  @doc "Gives `size` back, or fails when a string of so many bytes must not be made."
  @spec check_size(integer) :: integer
  def check_size(size) when size <= @max_size, do: size
  def check_size(size), do: fail("a value of size #{size} is too large; the limit is #{@max_size}")

  @doc "The same for a list of `length` elements."
  @spec check_length(integer) :: integer
  def check_length(length) do
    check_size(length * @element)
    length
  end

  @doc "The size that counts for a list of `length` elements."
  @spec list_size(non_neg_integer) :: non_neg_integer
  def list_size(length), do: length * @element
end
