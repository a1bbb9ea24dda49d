defmodule Mlx.Hub.Request do
  @moduledoc false
  # Requests to the Hub: redirects are followed, and what may go well later is tried again. The token goes to the Hub itself
  # and to no other server.

  alias Mlx.Hub.{Address, Body, Connection, Problem, Settings}

  @most_redirects 10
  @most_json 32 * 1024 * 1024
  @longest_wait 120_000

  @redirects [301, 302, 303, 307, 308]

  @type stop :: (-> boolean())

  @doc "What is asked for, as `Mlx.Hub.Problem` tells of it."
  @spec subject(Settings.t(), String.t(), String.t(), String.t() | nil) :: Problem.subject()
  def subject(settings, repository, revision, path \\ nil) do
    %{
      repository: repository,
      revision: revision,
      path: path,
      endpoint: settings.endpoint,
      token: settings.token != nil
    }
  end

  @doc "A value in JSON, with the headers of its answer."
  @spec json(String.t(), Problem.subject(), Settings.t()) :: {:ok, term(), Connection.headers()} | {:error, Problem.t()}
  def json(address, subject, settings) do
    attempts(settings, fn ->
      with {:ok, headers, connection, address} <- get(address, [], subject, settings),
           {:ok, text} <- text(headers, connection, address) do
        case JSON.decode(text) do
          {:ok, value} ->
            {:ok, {value, headers}}

          {:error, _reason} ->
            {:error, Problem.wrong("#{Address.shown(address)} answered with something that is not JSON")}
        end
      end
    end)
    |> case do
      {:ok, {value, headers}} -> {:ok, value, headers}
      {:error, problem} -> {:error, problem}
    end
  end

  defp text(headers, connection, address) do
    collect = fn piece, {size, pieces} ->
      size = size + byte_size(piece)
      if size > @most_json, do: {:halt, :too_long}, else: {:cont, {size, [pieces, piece]}}
    end

    case Body.reduce(headers, connection, {0, []}, collect) do
      {:ok, {_size, pieces}} -> {:ok, IO.iodata_to_binary(pieces)}
      {:halted, :too_long} -> {:error, Problem.wrong("#{Address.shown(address)} answered with more than 32 MB of JSON")}
      {:error, reason} -> {:error, Problem.of_reason(reason, address)}
    end
  end

  @doc "The headers of a file as the Hub itself tells them, not the server that it redirects to."
  @spec head(String.t(), Problem.subject(), Settings.t()) :: {:ok, Connection.headers()} | {:error, Problem.t()}
  def head(address, subject, settings) do
    attempts(settings, fn ->
      case exchange(:head, address, [], subject, settings, &never/0, @most_redirects) do
        {:ok, {:pieces, headers, connection}, _address} ->
          Connection.close(connection)
          {:ok, headers}

        {:elsewhere, headers} ->
          {:ok, headers}

        {:error, problem} ->
          {:error, problem}
      end
    end)
  end

  @doc "Begins to read a file or a value, once. The address is that of the server which sends it."
  @spec get(String.t(), Connection.headers(), Problem.subject(), Settings.t(), stop()) ::
          {:ok, Connection.headers(), Connection.t(), String.t()} | {:error, Problem.t()}
  def get(address, headers, subject, settings, stop \\ &never/0) do
    case exchange(:get, address, headers, subject, settings, stop, @most_redirects) do
      {:ok, {:pieces, headers, connection}, address} -> {:ok, headers, connection, address}
      {:error, problem} -> {:error, problem}
    end
  end

  defp never, do: false

  defp exchange(method, address, headers, subject, settings, stop, redirects) do
    case Connection.open(method, address, headers ++ token(address, settings), settings, stop) do
      {:ok, {:pieces, _headers, _connection} = answer} ->
        {:ok, answer, address}

      {:ok, {:head, status, answered}} when status in @redirects ->
        redirect(method, address, headers, subject, settings, stop, redirects, answered)

      {:ok, {:head, status, answered}} ->
        {:error, Problem.of_status(status, answered, address, subject)}

      {:error, reason} ->
        {:error, Problem.of_reason(reason, address)}
    end
  end

  defp token(address, settings) do
    if settings.token != nil and Address.same_origin?(address, settings.endpoint),
      do: [{"authorization", "Bearer " <> settings.token}],
      else: []
  end

  defp redirect(_method, address, _headers, _subject, _settings, _stop, 0, _answered) do
    {:error, Problem.wrong("#{Address.shown(address)} is the end of #{@most_redirects} redirects that lead to no file")}
  end

  defp redirect(method, address, headers, subject, settings, stop, redirects, answered) do
    case Address.redirected(address, Problem.header(answered, "location") || "") do
      {:ok, target} ->
        if method == :head and not Address.same_origin?(address, target),
          do: {:elsewhere, answered},
          else: exchange(method, target, headers, subject, settings, stop, redirects - 1)

      {:error, why} ->
        {:error, Problem.wrong("#{Address.shown(address)} redirects #{why}, which is not followed")}
    end
  end

  @doc """
  Calls `fun` until it succeeds, fails for good, or has failed as often as the settings allow. It waits twice as long each
  time, or as long as the server asks for.
  """
  @spec attempts(Settings.t(), (-> {:ok, result} | {:error, Problem.t()})) :: {:ok, result} | {:error, Problem.t()}
        when result: term()
  def attempts(settings, fun), do: attempt(settings, fun, 1)

  defp attempt(settings, fun, number) do
    case fun.() do
      {:error, %Problem{again: true} = problem} -> again(problem, settings, number, &attempt(settings, fun, &1))
      result -> result
    end
  end

  @doc "Waits and calls `go_on` with the number of the next attempt, or gives up."
  @spec again(Problem.t(), Settings.t(), pos_integer(), (pos_integer() -> result)) :: result | {:error, Problem.t()}
        when result: term()
  def again(problem, settings, number, go_on) do
    wait = problem.wait || settings.backoff * Integer.pow(2, min(number - 1, 6))

    cond do
      wait > @longest_wait ->
        {:error, %{problem | text: "#{problem.text}, and asks to wait for #{div(wait, 1000)} seconds", again: false}}

      number >= settings.attempts ->
        {:error, %{problem | text: "#{problem.text}, after #{times(number)}", again: false}}

      true ->
        Process.sleep(wait)
        go_on.(number + 1)
    end
  end

  defp times(1), do: "one attempt"
  defp times(number), do: "#{number} attempts"
end
