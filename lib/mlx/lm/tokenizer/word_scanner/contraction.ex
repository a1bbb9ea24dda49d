defmodule Mlx.LM.Tokenizer.WordScanner.Contraction do
  @moduledoc false
  # The ends of English contractions: `'s`, `'t`, `'re`, `'ve`, `'m`, `'ll` and `'d`.

  for {name, letters} <- [
        lower_case: fn letter -> [letter] end,
        any_case: fn letter -> [letter, letter - 32] end
      ] do
    @doc "The size of the one that a text begins with, in #{String.replace(to_string(name), "_", " ")}, or 0."
    @spec unquote(name)(binary) :: 0 | 2 | 3
    def unquote(name)(text)

    for {first, second} <- [{?r, ?e}, {?v, ?e}, {?l, ?l}], first <- letters.(first), second <- letters.(second) do
      def unquote(name)(<<?', unquote(first), unquote(second), _rest::binary>>), do: 3
    end

    for letter <- ~c"stmd", letter <- letters.(letter) do
      def unquote(name)(<<?', unquote(letter), _rest::binary>>), do: 2
    end

    # The long s is an s where case does not matter.
    if name == :any_case do
      def any_case(<<?', ?ſ::utf8, _rest::binary>>), do: 3
    end

    def unquote(name)(_text), do: 0
  end
end
