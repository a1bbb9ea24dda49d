defmodule Mlx.LM.HTTP.Models do
  @moduledoc false
  # The models by their names: `/v1/models`, and the one that a request asks for.

  alias Mlx.LM.HTTP.{Failure, Reply, Request, Settings}
  alias Mlx.LM.Server
  alias Mlx.LM.Server.Error

  @type model :: %{
          name: String.t(),
          server: Server.server(),
          tokenizer: Mlx.LM.Tokenizer.t(),
          template: Mlx.LM.ChatTemplate.t() | nil,
          context_length: pos_integer()
        }

  @spec call(Request.t(), Settings.t()) :: Reply.t()
  def call(%Request{path: "/v1/models"}, settings),
    do: Reply.json(200, %{object: "list", data: Enum.map(names(settings), &entry/1)})

  def call(%Request{path: "/v1/models/" <> name}, settings) do
    name = URI.decode(name)
    if name in names(settings), do: Reply.json(200, entry(name)), else: unknown!(name, names(settings))
  end

  defp entry(name), do: %{id: name, object: "model", created: 0, owned_by: "mlx"}

  defp names(settings) do
    servers = for entry <- settings.models, {:ok, name} <- [name(entry)], do: name
    others = for {name, _value} <- settings.embedders ++ settings.rankers, do: name
    Enum.uniq(servers ++ others)
  end

  # A server that is not there now is left out.
  defp name({nil, server}) do
    {:ok, Server.model(server).name}
  rescue
    _error in Error -> :error
  catch
    :exit, _reason -> :error
  end

  defp name({name, _server}), do: {:ok, name}

  @doc "The language model of a name, or the first where no name is given."
  @spec language_model!(Settings.t(), String.t() | nil) :: model()
  def language_model!(%Settings{models: []}, _name),
    do: Failure.fail!(:model_not_found, "this server has no language model", "model")

  def language_model!(%Settings{models: [{name, server} | _]}, nil), do: about(name, server)

  def language_model!(settings, wanted) do
    case Enum.find(settings.models, &(name(&1) == {:ok, wanted})) do
      {name, server} ->
        about(name, server)

      nil ->
        unknown!(wanted, for(entry <- settings.models, {:ok, name} <- [name(entry)], do: name))
    end
  end

  defp about(name, server) do
    about = Server.model(server)
    Map.merge(about, %{server: server, name: name || about.name})
  catch
    :exit, _reason -> Failure.fail!(:shutdown, "the model's server is not there", "model")
  end

  @doc "The embedder or ranker of a name among some, or the first where no name is given."
  @spec other!([{String.t(), value}], String.t() | nil, String.t()) :: {String.t(), value} when value: var
  def other!([], _name, what), do: Failure.fail!(:model_not_found, "this server has no #{what}", "model")
  def other!([first | _], nil, _what), do: first

  def other!(list, name, _what) do
    List.keyfind(list, name, 0) || unknown!(name, for({name, _value} <- list, do: name))
  end

  defp unknown!(name, names) do
    text =
      "there is no model #{inspect(name, binaries: :as_strings)} for this here; there is #{Enum.map_join(names, ", ", &inspect/1)}"

    Failure.fail!(:model_not_found, text, "model")
  end
end
