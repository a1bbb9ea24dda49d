defmodule Mlx.LM.Grammar.Formats do
  @moduledoc false
  # The values of JSON Schema's `format` as regular expressions of whole strings.

  alias Mlx.LM.Grammar.{Expression, Regex}

  # A day that is on the calendar (RFC 3339), from the year 1 on.
  @years "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
  @leap_years "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
  @days "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
  @date "(?:#{@years}-#{@days}|#{@leap_years}-02-29)"
  @clock "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
  @time "#{@clock}:[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-]#{@clock})"

  @byte "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
  @ipv4 "#{@byte}(?:\\.#{@byte}){3}"
  @group "[0-9A-Fa-f]{1,4}"
  @label "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
  @name "#{@label}(?:\\.#{@label}){0,3}"

  # With `::`, at most seven groups are written.
  @shortened Enum.map_join(0..7, "|", fn before ->
               front = if before == 0, do: ":", else: "(?:#{@group}:){#{before}}"
               left = 7 - before
               behind = if left == 0, do: "", else: "(?:#{@group}(?::#{@group}){0,#{left - 1}})?"
               "#{front}:#{behind}"
             end)

  @formats [
    {"date", @date},
    {"time", @time},
    {"date-time", "#{@date}T#{@time}"},
    {"duration",
     "P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[0-9]{1,4}D)" <>
       "(?:T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S))?" <>
       "|T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S))"},
    {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
    {"email", "[A-Za-z0-9_+-]{1,30}(?:\\.[A-Za-z0-9_+-]{1,15}){0,2}@#{@label}(?:\\.#{@label}){1,3}"},
    {"hostname", @name},
    {"ipv4", @ipv4},
    {"ipv6", "(?:#{@group}:){7}#{@group}|#{@shortened}"},
    {"uri",
     "[A-Za-z][A-Za-z0-9+.-]{1,15}://#{@name}(?::[1-9][0-9]{0,3})?(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]*)*" <>
       "(?:\\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?(?:#[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?"}
  ]

  @doc "The names of the formats."
  @spec names() :: [String.t()]
  def names, do: for({name, _source} <- @formats, do: name)

  @doc "The tree of a format, or nil for an unknown one."
  @spec tree(String.t()) :: Expression.t() | nil
  def tree(name) do
    case List.keyfind(@formats, name, 0) do
      {_name, source} -> Regex.parse(source, :whole)
      nil -> nil
    end
  end
end
