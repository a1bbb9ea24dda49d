defmodule Mix.Mlx.LocaleTest do
  use ExUnit.Case, async: true

  alias Mix.Mlx.Locale

  doctest Locale

  test "an argument that Erlang read as Latin-1 is the UTF-8 that was written, and Latin-1 stays what it is" do
    for text <- ["", "plain", "Grüß Gott 日本 🦉", "größe/naïve"] do
      read = :unicode.characters_to_binary(text, :latin1, :utf8)
      assert Locale.text(read, :latin1) == text
      assert Locale.text(text, :utf8) == text
    end

    assert Locale.text("Grün", :latin1) == "Grün"
    assert Locale.text("日本", :latin1) == "日本"
  end

  test "the first variable that is set says the locale" do
    for {variables, none?} <- [
          {%{}, true},
          {%{"LANG" => "C"}, true},
          {%{"LC_ALL" => "POSIX", "LANG" => "de_DE.UTF-8"}, true},
          {%{"LC_ALL" => "", "LANG" => "C.UTF-8"}, false},
          {%{"LC_CTYPE" => "de_DE.ISO-8859-1", "LANG" => "C"}, false}
        ] do
      assert Locale.none?(&variables[&1]) == none?
    end
  end
end
