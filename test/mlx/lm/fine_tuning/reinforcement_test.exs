defmodule Mlx.LM.FineTuning.ReinforcementTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  alias Mlx.LM.FineTuning
  alias Mlx.LM.FineTuning.GroupPolicy
  alias Mlx.Optimizers.Adam
  alias Mlx.TinyLlama

  setup_all do
    folder = Path.join(System.tmp_dir!(), "mlx-reinforcement-#{System.unique_integer([:positive])}")
    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    TinyLlama.save(Path.join(folder, "tiny.gguf"))
    Mlx.LM.convert(Path.join(folder, "tiny.gguf"), Path.join(folder, "model"), type: :f32)
    %{tuning: FineTuning.load(Path.join(folder, "model"), rank: 4, layers: 1, seed: 1)}
  end

  test "advantages are the rewards of a group with the mean 0 and the deviation 1" do
    assert GroupPolicy.advantages([1, 1, 1]) == [0.0, 0.0, 0.0]
    assert GroupPolicy.advantages([0.1, 0.1, 0.1]) == [0.0, 0.0, 0.0]
    assert [-1.0, 1.0, -1.0, 1.0] == GroupPolicy.advantages([0, 1, 0, 1])
    advantages = GroupPolicy.advantages([3, -2.5, 7, 11])
    assert_in_delta Enum.sum(advantages), 0, 1.0e-9
    assert_in_delta Enum.sum_by(advantages, &(&1 * &1)), 4, 1.0e-9
  end

  test "the loss is the formula of the paper, also where the ratio is clipped" do
    :rand.seed(:exsss, 5)
    rows = fn -> for _ <- 1..4, do: for(_ <- 1..6, do: -3 * :rand.uniform()) end
    [logs, old, reference] = [rows.(), rows.(), rows.()]
    lengths = [6, 1, 4, 3]
    advantages = [1.5, -0.5, -1.2, 0.2]

    expected =
      for row <- 0..3 do
        terms =
          for place <- 0..(Enum.at(lengths, row) - 1) do
            [p, o, r] = for all <- [logs, old, reference], do: all |> Enum.at(row) |> Enum.at(place) |> :math.exp()
            a = Enum.at(advantages, row)
            0.1 * (r / p - :math.log(r / p) - 1) - min(p / o * a, min(max(p / o, 0.8), 1.2) * a)
          end

        Enum.sum(terms) / length(terms)
      end

    # What does not count may be anything.
    [logs, old, reference] =
      for {all, other} <- [{logs, -900.0}, {old, 0.0}, {reference, 0.0}] do
        Mlx.array(
          for {row, length} <- Enum.zip(all, lengths), do: Enum.take(row, length) ++ List.duplicate(other, 6 - length)
        )
      end

    mask = Mlx.array(for length <- lengths, do: List.duplicate(1.0, length) ++ List.duplicate(0.0, 6 - length))
    group = %{old: old, reference: reference, advantages: Mlx.array(advantages)}
    loss = GroupPolicy.loss(logs, mask, group, 0.2, 0.1)
    assert_in_delta Mlx.to_number(loss), Enum.sum(expected) / 4, 1.0e-5
  end

  defp letters(text), do: length(Regex.scan(~r/[a-z]/, text)) / 8

  test "a model learns to write letters, and the same seed gives the same model", %{tuning: tuning} do
    test = self()
    reward = fn prompt, text -> send(test, {:prompt, prompt}) && letters(text) end
    prompts = ["one", "two", [%{role: "user", content: "three"}]]
    options = [batch_size: 2, samples: 8, max_tokens: 8, seed: 3, report_every: 5]

    train = fn steps ->
      FineTuning.reinforce(tuning, prompts, reward, Adam.new(0.02), [steps: steps] ++ options)
    end

    output = capture_io(fn -> send(test, {:trained, train.(25)}) end)
    assert output =~ ~r"step 5/25  reward 0\.\d{4}  divergence \d\.\d{4}\n"
    assert_received {:trained, {tuned, curves}}
    for prompt <- prompts, do: assert_received({:prompt, ^prompt})
    mean = fn points -> Enum.sum_by(points, &elem(&1, 1)) / length(points) end
    assert Enum.map(curves[:rewards], &elem(&1, 0)) == Enum.to_list(1..25)
    [first, last] = for count <- [5, -5], do: mean.(Enum.take(curves[:rewards], count))
    assert first < 0.35 and last > first + 0.3
    # The reference is the model at first.
    assert [{1, start} | _] = curves[:divergences]
    assert_in_delta start, 0.0, 1.0e-5
    assert mean.(Enum.take(curves[:divergences], -5)) > 0.01
    assert Mlx.Training.Curve.to_svg(Keyword.take(curves, [:rewards])) =~ "<polyline"

    # Its answers are those of the rewards.
    answers =
      for seed <- 1..10, do: Mlx.LM.generate(FineTuning.lm(tuned), "one", max_tokens: 8, temperature: 1.0, seed: seed)

    assert Enum.sum_by(answers, &letters(&1.text)) / 10 > first + 0.2

    for _run <- 1..2 do
      capture_io(fn -> send(test, {:again, elem(train.(2), 1)}) end)
      assert_received {:again, again}
      assert again[:rewards] == Enum.take(curves[:rewards], 2)
    end
  end

  test "a callback ends it, several iterations change the model more, and what is wrong is told", %{tuning: tuning} do
    test = self()

    stop = fn figures, training ->
      assert %FineTuning{} = FineTuning.put(tuning, training)
      send(test, {:figures, figures})
      if figures.step == 1, do: :halt
    end

    options = [batch_size: 1, samples: 2, max_tokens: 4, seed: 1, iterations: 2, progress: nil]
    reward = fn _prompt, text -> letters(text) + byte_size(text) end
    {_tuned, curves} = FineTuning.reinforce(tuning, ["a"], reward, Adam.new(0.01), [callback: stop] ++ options)
    assert [rewards: [{1, value}], divergences: [_], losses: [_]] = curves
    assert_received {:figures, %{step: 1, rewards: ^value}}

    assert_raise ArgumentError, ~r/reinforce: expected the reward of a text to be a number, got: nil/, fn ->
      FineTuning.reinforce(tuning, ["a"], fn _prompt, _text -> nil end, Adam.new(0.01), options)
    end

    assert_raise ArgumentError, ~r/reinforce: expected :samples to be an integer of at least 2, got: 1/, fn ->
      FineTuning.reinforce(tuning, ["a"], reward, Adam.new(0.01), samples: 1)
    end
  end
end
