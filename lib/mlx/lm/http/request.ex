defmodule Mlx.LM.HTTP.Request do
  @moduledoc false
  # A request as the routes see it. The names of headers are in small letters.

  @enforce_keys [:method, :path]
  defstruct @enforce_keys ++ [query: "", headers: [], body: "", loopback: false]

  @type t :: %__MODULE__{
          method: String.t(),
          path: String.t(),
          query: String.t(),
          headers: [{String.t(), String.t()}],
          body: binary(),
          loopback: boolean()
        }

  @doc "The value of a header, or nil."
  @spec header(t(), String.t()) :: String.t() | nil
  def header(%__MODULE__{headers: headers}, name) do
    with {_name, value} <- List.keyfind(headers, name, 0), do: value
  end
end
