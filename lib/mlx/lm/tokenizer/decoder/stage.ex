defmodule Mlx.LM.Tokenizer.Decoder.Stage do
  @moduledoc false
  # The stages of a decoder: what each keeps, and what it gives for the parts of tokens and for their ends.
  #
  # Most stages look at whole tokens: `run/3` collects the parts of one for `token/3`. Four take parts as they come.

  alias Mlx.LM.Tokenizer.{ByteAlphabet, ByteTokens, Growth, Incomplete, Pattern}

  @type event :: {:part, String.t()} | :end

  @cleaned [
    {" .", "."},
    {" ?", "?"},
    {" !", "!"},
    {" ,", ","},
    {" ' ", "'"},
    {" n't", "n't"},
    {" 'm", "'m"},
    {" do not", " don't"},
    {" 's", "'s"},
    {" 've", "'ve"},
    {" 're", "'re"}
  ]

  @doc "What a stage keeps before the first event."
  @spec start(tuple) :: term
  def start({:fuse}), do: nil
  def start({:metaspace, _replacement, _first}), do: true
  def start({:strip, _content, start, 0}), do: start
  def start({:replace, _pattern, _content, true}), do: nil
  def start(stage), do: {"", first(stage)}

  defp first({:byte_level}), do: ""
  defp first({:byte_fallback}), do: ""
  defp first({:word_piece, _prefix, _cleans}), do: true
  defp first({:between, _space}), do: true
  defp first(_stage), do: nil

  @doc "The events that follow from events, and what the stage then keeps."
  @spec run(tuple, [event], term) :: {[event], term}
  def run({:fuse}, events, kept), do: {Enum.reject(events, &(&1 == :end)), kept}

  def run({:metaspace, replacement, strips}, events, first) do
    Enum.map_reduce(events, first, fn
      :end, _first ->
        {:end, false}

      {:part, text}, first ->
        {{:part, :binary.replace(text, replacement, if(first and strips, do: "", else: " "), [:global])}, first}
    end)
  end

  def run({:strip, content, start, 0}, events, left) do
    Enum.map_reduce(events, left, fn
      :end, _left -> {:end, start}
      {:part, text}, left -> text |> stripped(content, left) |> then(fn {text, left} -> {{:part, text}, left} end)
    end)
  end

  def run({:replace, pattern, content, true}, events, kept) do
    {Enum.map(events, fn event -> with {:part, text} <- event, do: {:part, grown(text, pattern, content)} end), kept}
  end

  def run(stage, events, kept) do
    Enum.flat_map_reduce(events, kept, fn
      {:part, text}, {token, kept} ->
        {[], {if(token == "", do: text, else: token <> text), kept}}

      :end, {token, kept} ->
        {events, kept} = token(stage, token, kept)
        {events, {"", kept}}
    end)
  end

  @doc "The last events of a stage."
  @spec finish(tuple, term) :: [event]
  def finish({:fuse}, _kept), do: [:end]
  def finish({:byte_level}, {_token, waiting}), do: [{:part, String.replace_invalid(waiting)}, :end]
  def finish({:byte_fallback}, {_token, bytes}), do: run_of_bytes(bytes)
  def finish({:suffix, suffix}, {_token, held}) when held != nil, do: [{:part, replaced(held, suffix, "")}, :end]
  def finish(_stage, _kept), do: []

  # All tokens are one, of bytes that may become a character with the next ones.
  defp token({:byte_level}, token, waiting) do
    bytes =
      case ByteAlphabet.bytes(token) do
        {:ok, bytes} -> bytes
        :error -> token
      end

    {text, waiting} = Incomplete.split(waiting <> bytes)
    {[{:part, String.replace_invalid(text)}], waiting}
  end

  # A run of bytes is text, or else each byte is a replacement character.
  defp token({:byte_fallback}, token, bytes) do
    case ByteTokens.byte(token) do
      nil -> {run_of_bytes(bytes) ++ [{:part, token}, :end], ""}
      byte -> {[], <<bytes::binary, byte>>}
    end
  end

  defp token({:word_piece, prefix, cleans}, token, first) do
    size = byte_size(prefix)

    token =
      case token do
        token when first -> token
        <<^prefix::binary-size(size), rest::binary>> -> rest
        token -> " " <> token
      end

    {[{:part, if(cleans, do: cleaned(token), else: token)}, :end], false}
  end

  defp token({:between, space}, token, first), do: {[{:part, if(first, do: token, else: space <> token)}, :end], false}
  defp token({:suffix, _suffix}, token, nil), do: {[], token}
  defp token({:suffix, suffix}, token, held), do: {[{:part, replaced(held, suffix, " ")}, :end], token}

  defp token({:strip, content, start, stop}, token, kept) do
    {without_start, _left} = stripped(token, content, start)
    room = div(byte_size(without_start), byte_size(content))
    {[{:part, stripped_end(without_start, content, min(stop, room))}, :end], kept}
  end

  defp token({:replace, pattern, content, false}, token, kept),
    do: {[{:part, grown(token, pattern, content)}, :end], kept}

  # Of equal neighbours one is left.
  defp token({:ctc, _padding, _delimiter, _cleans}, token, token), do: {[], token}

  defp token({:ctc, padding, delimiter, cleans}, token, _previous) do
    text = replaced(token, padding, "")
    text = if cleans, do: text |> cleaned() |> replaced(delimiter, " "), else: text
    {if(text == "", do: [], else: [{:part, text}, :end]), token}
  end

  defp run_of_bytes(""), do: []

  defp run_of_bytes(bytes) do
    if String.valid?(bytes),
      do: [{:part, bytes}, :end],
      else: for(<<_byte <- bytes>>, event <- [{:part, "\uFFFD"}, :end], do: event)
  end

  defp stripped(text, _content, 0), do: {text, 0}
  defp stripped("", _content, left), do: {"", left}

  defp stripped(text, content, left) do
    size = byte_size(content)

    case text do
      <<^content::binary-size(size), rest::binary>> -> stripped(rest, content, left - 1)
      _other -> {text, 0}
    end
  end

  defp stripped_end(text, _content, 0), do: text

  defp stripped_end(text, content, left) do
    if String.ends_with?(text, content) do
      text |> binary_part(0, byte_size(text) - byte_size(content)) |> stripped_end(content, left - 1)
    else
      text
    end
  end

  defp cleaned(text),
    do: Enum.reduce(@cleaned, text, fn {from, to}, text -> :binary.replace(text, from, to, [:global]) end)

  defp grown(text, pattern, content), do: pattern |> Pattern.replace(text, content) |> Growth.check_token(text)

  @doc "A text with every place of a string replaced; an empty string is in front of each character and at the end."
  @spec replaced(String.t(), String.t(), String.t()) :: String.t()
  def replaced(text, "", to), do: for(<<code::utf8 <- text>>, into: to, do: <<code::utf8, to::binary>>)
  def replaced(text, from, to), do: :binary.replace(text, from, to, [:global])
end
