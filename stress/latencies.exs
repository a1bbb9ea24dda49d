defmodule Mlx.Stress.Latencies do
  @moduledoc false
  # Counts of durations, which take no memory of the process that measures: to 3 % up to an hour.

  @steps_per_doubling 24
  @buckets @steps_per_doubling * 42

  @type t :: {:counters.counters_ref(), :atomics.atomics_ref()}

  @spec new() :: t()
  def new, do: {:counters.new(@buckets, [:write_concurrency]), :atomics.new(1, [])}

  @doc "Runs the function and counts how long that took."
  @spec measure(t(), (-> result)) :: result when result: var
  def measure({counters, longest}, fun) do
    start = System.monotonic_time(:nanosecond)
    result = fun.()
    nanoseconds = max(System.monotonic_time(:nanosecond) - start, 1)
    :counters.add(counters, min(trunc(:math.log2(nanoseconds) * @steps_per_doubling) + 1, @buckets), 1)
    raise_to(longest, nanoseconds, :atomics.get(longest, 1))
    result
  end

  defp raise_to(longest, nanoseconds, known) when nanoseconds > known do
    case :atomics.compare_exchange(longest, 1, known, nanoseconds) do
      :ok -> :ok
      other -> raise_to(longest, nanoseconds, other)
    end
  end

  defp raise_to(_longest, _nanoseconds, _known), do: :ok

  @spec count(t()) :: non_neg_integer()
  def count({counters, _}), do: Enum.sum(for bucket <- 1..@buckets, do: :counters.get(counters, bucket))

  @doc "In milliseconds."
  @spec longest(t()) :: float()
  def longest({_, longest}), do: :atomics.get(longest, 1) / 1.0e6

  @doc "p50, p99 and the longest."
  @spec describe(t()) :: String.t()
  def describe(latencies) do
    total = count(latencies)

    if total == 0 do
      "none"
    else
      [half, most] = for share <- [0.5, 0.99], do: format(quantile(latencies, share) * 1.0e6)
      "#{total}, p50 #{half}, p99 #{most}, longest #{format(longest(latencies) * 1.0e6)}"
    end
  end

  @doc "What that share of them is below, in milliseconds."
  @spec quantile(t(), float()) :: float()
  def quantile({counters, _} = latencies, share), do: quantile(counters, trunc(count(latencies) * share), 1) / 1.0e6

  defp quantile(counters, left, bucket) do
    here = :counters.get(counters, bucket)

    if left < here or bucket == @buckets,
      do: :math.pow(2, (bucket - 0.5) / @steps_per_doubling),
      else: quantile(counters, left - here, bucket + 1)
  end

  defp format(nanoseconds) when nanoseconds < 1.0e6, do: "#{Float.round(nanoseconds / 1.0e3, 1)} us"
  defp format(nanoseconds), do: "#{Float.round(nanoseconds / 1.0e6, 2)} ms"
end
