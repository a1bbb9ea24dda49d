defmodule Mix.Mlx.ThinkingTest do
  use ExUnit.Case, async: true

  alias Mix.Mlx.Thinking

  # The parts of a text that comes in pieces of some characters, joined where they follow each other.
  defp parts(text, size, start \\ :answer, style \\ :think) do
    {pieces, state} =
      text
      |> String.codepoints()
      |> Enum.chunk_every(size)
      |> Enum.map(&Enum.join/1)
      |> Enum.flat_map_reduce(Thinking.new(start, style), &Thinking.push(&2, &1))

    (pieces ++ Thinking.flush(state))
    |> Enum.chunk_by(&elem(&1, 0))
    |> Enum.map(fn [{part, _text} | _] = same -> {part, Enum.map_join(same, &elem(&1, 1))} end)
  end

  for size <- [1, 2, 3, 7, 100] do
    test "is taken apart wherever pieces of #{size} end" do
      assert parts("<think>so, a < b</think>\n\né", unquote(size)) == [thinking: "so, a < b", answer: "\n\né"]

      assert parts("a<think>b</think>c<think>d", unquote(size)) == [
               answer: "a",
               thinking: "b",
               answer: "c",
               thinking: "d"
             ]

      assert parts("b</think>c", unquote(size), :thinking) == [thinking: "b", answer: "c"]
      assert parts("1 <thin</think> 2 <thi", unquote(size)) == [answer: "1 <thin</think> 2 <thi"]
      assert parts("", unquote(size)) == []
    end

    test "of gpt-oss is taken apart wherever pieces of #{size} end" do
      text =
        "<|channel|>analysis<|message|>We <|channel|> add.<|end|><|start|>assistant<|channel|>final<|message|>4 <|x|>"

      assert parts(text, unquote(size), :answer, :channels) == [thinking: "We <|channel|> add.", answer: "4 <|x|>"]

      preamble = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>analysis<|message|>so"
      assert parts(preamble, unquote(size), :answer, :channels) == [answer: "I look.", thinking: "so"]
    end
  end

  test "text is shown as soon as it can be no mark" do
    assert {[answer: "a "], state} = Thinking.push(Thinking.new(), "a <th")
    assert {[answer: "<the"], _state} = Thinking.push(state, "e")
  end

  test "a prompt may begin it" do
    assert Thinking.after_prompt("<|end|><|start|>assistant", :channels) == Thinking.new(:answer, :channels)
    assert Thinking.after_prompt("assistant\n<think>\n") == Thinking.new(:thinking)
    assert Thinking.after_prompt("assistant\n<think>\n\n</think>\n\n") == Thinking.new(:answer)
  end
end
