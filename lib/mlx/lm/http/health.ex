defmodule Mlx.LM.HTTP.Health do
  @moduledoc false
  # Whether the server answers. No model is asked, so that it answers at once whatever they do.

  alias Mlx.LM.HTTP.{Reply, Request, Settings}

  @spec call(Request.t(), Settings.t()) :: Reply.t()
  def call(_request, _settings), do: Reply.json(200, %{status: "ok"})
end
