defmodule Mlx.LM.HTTP.Sampling do
  @moduledoc false
  # The fields of sampling, which the interfaces share, as rows for `Mlx.LM.HTTP.Fields`, and the options that they become.

  alias Mlx.LM.HTTP.{Failure, Fields, Settings}
  alias Mlx.LM.Tools

  @rows [
    {"temperature", {:number, 0, 100}, {:option, :temperature}},
    {"top_p", {:number, 0, 1}, {:option, :top_p}},
    {"top_k", {:integer, 1, nil}, {:option, :top_k}},
    {"min_p", {:number, 0, 1}, {:option, :min_p}},
    {"seed", {:integer, nil, nil}, {:option, :seed}},
    {"presence_penalty", {:number, -100, 100}, {:option, :presence_penalty}},
    {"frequency_penalty", {:number, -100, 100}, {:option, :frequency_penalty}},
    {"repetition_penalty", {:number, 0.01, 100}, {:option, :repetition_penalty}},
    {"xtc_probability", {:number, 0, 1}, {:option, :xtc_probability}},
    {"xtc_threshold", {:number, 0, 0.5}, {:option, :xtc_threshold}},
    {"logit_bias", {:map, {:number, -100, 100}}, {:option, :logit_bias}},
    {"stop", {:either, [:string, {:list, :string}]}, {:option, :stop}}
  ]

  @greatest_seed 0x10000000000000000

  # As many stop strings as there may be.
  @most_stops 64

  @doc "The rows, or those of some names."
  @spec rows() :: [Fields.row()]
  def rows, do: @rows

  @spec rows([String.t()]) :: [Fields.row()]
  def rows(names), do: for({name, _type, _target} = row <- @rows, name in names, do: row)

  @doc "The options of a generation: those that were read, beside the server's own, its time limit and the marks of a parser."
  @spec options(Fields.t(), Settings.t(), Tools.t() | nil) :: keyword()
  def options(fields, settings, parser) do
    given = for {name, value} <- fields.options, do: {name, option(name, value)}
    own = [deadline: settings.time_limit, special: if(parser, do: Tools.special(parser), else: [])]
    settings.defaults |> Keyword.merge(given) |> Keyword.merge(own)
  end

  defp option(:seed, seed), do: Integer.mod(seed, @greatest_seed)

  defp option(:stop, stop) do
    stop = List.wrap(stop)
    if length(stop) > @most_stops, do: Failure.fail!(:invalid, "stop has more than #{@most_stops} strings", "stop")
    if "" in stop, do: Failure.fail!(:invalid, "a stop string is empty", "stop")
    stop
  end

  # Without randomness nothing is left out.
  defp option(:top_p, top_p) when top_p <= 0, do: 1.0e-6

  defp option(:logit_bias, bias) do
    for {token, number} <- bias, into: %{} do
      case Integer.parse(token) do
        {id, ""} -> {id, number}
        _other -> Failure.fail!(:invalid, "logit_bias has #{Fields.shown(token)}, which is no token", "logit_bias")
      end
    end
  end

  defp option(_name, value), do: value

  @doc "The options of `n` answers: with a seed each has one of its own."
  @spec several(keyword(), pos_integer()) :: [keyword()]
  def several(options, n) do
    for index <- 0..(n - 1) do
      if seed = options[:seed],
        do: Keyword.put(options, :seed, Integer.mod(seed + index, @greatest_seed)),
        else: options
    end
  end
end
