defmodule Mlx.Hub.Problem do
  @moduledoc false
  # Why an exchange with the Hub failed, in one sentence, and whether it may go well when it is tried again. No sentence has a
  # token, nor the query of an address, which may hold a signature.

  alias Mlx.Hub.Address

  @enforce_keys [:kind, :text]
  defstruct [:kind, :text, again: false, wait: nil]

  @typedoc "`:unreachable` is said of a server that cannot be asked, so that what is cached has to do."
  @type kind :: :unreachable | :refused | :missing | :wrong | :unsatisfied | :stopped
  @type t :: %__MODULE__{kind: kind(), text: String.t(), again: boolean(), wait: non_neg_integer() | nil}

  @typedoc "What was asked for: a repository, its revision, a file of it or nil, the Hub, and whether a token was sent."
  @type subject :: %{
          repository: String.t(),
          revision: String.t(),
          path: String.t() | nil,
          endpoint: String.t(),
          token: boolean()
        }

  @doc "What an answer with a status other than success means."
  @spec of_status(pos_integer(), [{String.t(), String.t()}], String.t(), subject()) :: t()
  def of_status(status, headers, address, subject) do
    case {status, header(headers, "x-error-code")} do
      {_, "GatedRepo"} -> gated(subject)
      {_, "RevisionNotFound"} -> missing(revision(subject))
      {_, "EntryNotFound"} -> missing(file(subject))
      {_, "RepoNotFound"} -> repository(subject)
      {401, _} -> repository(subject)
      {403, _} -> forbidden(subject)
      {404, _} -> missing(if subject.path, do: file(subject), else: "#{repository_text(subject)}, or not this revision")
      _other -> of_server(status, headers, address)
    end
  end

  defp missing(text), do: %__MODULE__{kind: :missing, text: text}

  defp gated(subject) do
    refused(
      "#{subject.repository} is gated: accept its terms at #{subject.endpoint}/#{subject.repository}, and " <>
        "#{token_text(subject)}"
    )
  end

  defp forbidden(subject) do
    refused(
      "the Hub forbids #{subject.repository}: look at #{subject.endpoint}/#{subject.repository} whether its terms have to " <>
        "be accepted, and #{token_text(subject)}"
    )
  end

  defp repository(%{token: true} = subject) do
    refused(
      "#{repository_text(subject)} for this token: the name is wrong, the repository is private, or the token of HF_TOKEN " <>
        "is not valid"
    )
  end

  defp repository(subject) do
    refused(
      "#{repository_text(subject)} without a token: the name is wrong, or the repository is private or gated, for which " <>
        "set HF_TOKEN to a token of #{subject.endpoint}/settings/tokens and accept the terms at " <>
        "#{subject.endpoint}/#{subject.repository}"
    )
  end

  defp repository_text(subject), do: "#{subject.endpoint} has no repository #{subject.repository}"
  defp revision(subject), do: "#{subject.repository} has no revision #{inspect(subject.revision)}"

  defp file(subject),
    do: "#{subject.repository} has no file #{inspect(subject.path)} in the revision #{inspect(subject.revision)}"

  defp refused(text), do: %__MODULE__{kind: :refused, text: text}

  defp token_text(%{token: true}), do: "give a token of that account that may read it as HF_TOKEN"
  defp token_text(subject), do: "set HF_TOKEN to a token of #{subject.endpoint}/settings/tokens"

  # The status, whether it is worth to ask again.
  defp of_server(status, headers, address) do
    wait = retry_after(header(headers, "retry-after"))
    text = "#{Address.shown(address)} answered with the status #{status}"

    cond do
      status == 416 -> %__MODULE__{kind: :unsatisfied, text: text}
      status == 429 -> %__MODULE__{kind: :unreachable, text: text <> " (too many requests)", again: true, wait: wait}
      status in [408, 425, 500, 502, 503, 504] -> %__MODULE__{kind: :unreachable, text: text, again: true, wait: wait}
      true -> wrong(text)
    end
  end

  @doc "A header of an answer, or nil."
  @spec header([{String.t(), String.t()}], String.t()) :: String.t() | nil
  def header(headers, name), do: with({_name, value} <- List.keyfind(headers, name, 0), do: value)

  # Seconds, or a date.
  defp retry_after(nil), do: nil

  defp retry_after(text) do
    case Integer.parse(text) do
      {seconds, ""} when seconds in 0..1_000_000_000 -> seconds * 1000
      _date -> with({:ok, date} <- date(text), do: max(DateTime.diff(date, DateTime.utc_now(), :millisecond), 0))
    end
  end

  @months ~w(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)

  # The nil is that of no date.
  defp date(text) do
    with [_, day, month, year, time] <- Regex.run(~r/\A\w{3}, (\d\d) (\w{3}) (\d{4}) (\d\d:\d\d:\d\d) GMT\z/, text),
         month when month != nil <- Enum.find_index(@months, &(&1 == month)),
         month = String.pad_leading("#{month + 1}", 2, "0"),
         {:ok, date, 0} <- DateTime.from_iso8601("#{year}-#{month}-#{day}T#{time}Z") do
      {:ok, date}
    else
      _none -> nil
    end
  end

  @doc "What a failed connection means."
  @spec of_reason(term(), String.t()) :: t()
  def of_reason(:stopped, _address), do: %__MODULE__{kind: :stopped, text: "stopped"}

  def of_reason(:timeout, address), do: lost(address, "sent nothing for too long")

  def of_reason({:connect, reason}, address) when reason in [:timeout, :etimedout], do: lost(address, "does not answer")
  def of_reason({:connect, reason}, address), do: unreachable(address, reason)
  def of_reason({:tls_alert, {alert, _text}}, address), do: of_alert(alert, address)
  def of_reason(:closed, address), do: lost(address, "closed the connection")
  def of_reason({:proxy, status}, address), do: wrong("the proxy refuses #{Address.shown(address)} (status #{status})")
  def of_reason(:no_http, address), do: lost(address, "answered with something that is not HTTP")
  def of_reason(:length, address), do: lost(address, "answered with a length that is none")
  def of_reason(:transfer_encoding, address), do: lost(address, "answered in a transfer encoding that is not known")
  def of_reason(:chunk, address), do: lost(address, "answered with chunks that are damaged")

  def of_reason({:encoding, encoding}, address) do
    wrong("#{Address.shown(address)} packs its answer by #{inspect(encoding, printable_limit: 40)}, which is not known")
  end

  def of_reason({:damaged, kind}, address), do: lost(address, "sends a damaged #{kind} stream")
  def of_reason(reason, address), do: lost(address, "failed (#{short(reason)})")

  defp of_alert(alert, address) do
    wrong(
      "no secure connection with #{host(address)} (#{String.replace(to_string(alert), "_", " ")}): its certificate or the " <>
        "clock of this machine is wrong, or a proxy needs its certificates named by SSL_CERT_FILE"
    )
  end

  defp unreachable(address, reason) do
    why = if is_atom(reason), do: " (#{:inet.format_error(reason)})"
    %__MODULE__{kind: :unreachable, text: "cannot reach #{host(address)}#{why}, so this machine may be offline"}
  end

  defp lost(address, what), do: %__MODULE__{kind: :unreachable, text: "#{Address.shown(address)} #{what}", again: true}

  @doc "A problem that stays the same however often it is tried."
  @spec wrong(String.t()) :: t()
  def wrong(text), do: %__MODULE__{kind: :wrong, text: text}

  defp host(address), do: URI.parse(address).host

  # The names in a term, which may hold anything that was sent.
  defp short(reason) when is_atom(reason), do: to_string(reason)
  defp short(reason) when is_tuple(reason), do: short(elem(reason, 0))
  defp short(_other), do: "unknown"
end
