defmodule Mlx.Arguments.Presence do
  @moduledoc false
  # Whether an array still has memory, and has it here. An array that was sent from another virtual machine, or stored by an
  # earlier one, is a name for memory that is not.

  alias Mlx.{Array, Native}

  @doc "Where the memory of an array is."
  @spec of(Array.t()) :: :here | :deallocated | :elsewhere
  def of(array) do
    # There is no other question that can be asked of an array that has no value.
    Native.is_available(array)
    :here
  rescue
    error in ArgumentError -> if Exception.message(error) =~ "deallocated", do: :deallocated, else: :elsewhere
    _computation in Mlx.Error -> :here
  end

  @doc "Why an array could not be read, in a few words."
  @spec reason(Array.t(), Exception.t()) :: String.t()
  def reason(array, error) do
    case of(array) do
      :here -> Exception.message(error)
      :deallocated -> "deallocated"
      :elsewhere -> "in another virtual machine"
    end
  end
end
