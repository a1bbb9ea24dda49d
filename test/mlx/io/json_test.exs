defmodule Mlx.IO.JSONTest do
  use ExUnit.Case, async: true

  alias Mlx.IO.JSON

  test "values" do
    for {text, value} <- [
          {"null", nil},
          {" true\n", true},
          {"false", false},
          {"0", 0},
          {"-12", -12},
          {"18446744073709551615", 18_446_744_073_709_551_615},
          {"1.5", 1.5},
          {"-2E+3", -2000.0},
          {"1e-999", 0.0},
          {String.duplicate("1", 40), div(10 ** 40, 9)},
          {String.duplicate("[", 32) <> String.duplicate("]", 32), Enum.reduce(1..31, [], fn _, inner -> [inner] end)},
          {~s(""), ""},
          {~s("größe 日本 😀"), "größe 日本 😀"},
          {~S("a\"b\\c\/d\b\f\n\r\te"), "a\"b\\c/d\b\f\n\r\te"},
          {~S("\u0041\u00e9\u65E5\ud83d\uDE00\u0000"), "Aé日😀\0"},
          {"[]", []},
          {"[ 1 , [2],{} ]", [1, [2], %{}]},
          {"{}", %{}},
          {~s({"a":1,"b":{"c":[true,null]}}\t), %{"a" => 1, "b" => %{"c" => [true, nil]}}}
        ] do
      assert JSON.decode!(text) == value
    end
  end

  test "what is none, and where" do
    for {text, message} <- [
          {"", "an end of the text at byte 0"},
          {"[1", "an end of the text at byte 2"},
          {"[1,]", ~s(an unexpected "]" at byte 3)},
          {"[1 2]", ~s(an unexpected "2]" at byte 3)},
          {~s({"a" 1}), ~s(an unexpected "1}" at byte 5)},
          {"{1:2}", ~s(an unexpected "1:2}" at byte 1)},
          {~s({"a":1,}), ~s(an unexpected "}" at byte 7)},
          {~s({"a":1,"a":2}), ~s(the key "a" for a second time)},
          {~S({"a":1,"\u0061":2}), ~s(the key "a" for a second time)},
          {"1 x", ~s(an unexpected "x" at byte 2)},
          {" [] \n]", ~s(an unexpected "]" at byte 5)},
          {"nul", "an end of the text at byte 3"},
          {"[nulx]", ~s(an unexpected "ulx]" at byte 2)},
          {"012", ~s(an unexpected "12" at byte 1)},
          {"1.", "an end of the text at byte 2"},
          {"[1.e5]", ~s(an unexpected "e5]" at byte 3)},
          {"-", "an end of the text at byte 1"},
          {"NaN", ~s(an unexpected "NaN" at byte 0)},
          {"1e999", ~s(an unexpected "1e999" at byte 0)},
          {String.duplicate("1", 41), "a number of 41 characters, and 40 are the most"},
          {"1." <> String.duplicate("1", 1_000_000), ~s(an unexpected "1.111111" at byte 0)},
          {~s("a), "an end of the text at byte 2"},
          {"\"a\nb\"", ~S(an unexpected "\nb\"" at byte 2)},
          {~S("\x"), ~S(an unexpected "x\"" at byte 2)},
          {~S("\u12"), "an end of the text at byte 6"},
          {~S("\ud83d"), "an end of the text at byte 8"},
          {~S("\ud83d\u0041"), ~S(an unexpected "\\ud83d\\u" at byte 1)},
          {~S("\ude00"), ~S(an unexpected "\\ude00\"" at byte 1)},
          {<<?", 0xFF, ?">>, "an unexpected <<255, 34>> at byte 1"},
          {<<0xFF, 0xFE>>, "an unexpected <<255, 254>> at byte 0"},
          {String.duplicate("[", 1_000_000), "more than 32 lists and objects within each other"},
          {String.duplicate(~s({"a":), 40), "more than 32 lists and objects within each other"}
        ] do
      assert_raise Mlx.Error, message, fn -> JSON.decode!(text) end
    end
  end

  test "a long key is shortened in the message" do
    key = String.duplicate("k", 100_000)
    error = assert_raise Mlx.Error, fn -> JSON.decode!(~s({"#{key}":1,"#{key}":2})) end
    assert byte_size(error.message) < 200
  end

  test "a string keeps no more than its bytes" do
    assert %{"name" => [name]} =
             JSON.decode!(~s({"name":["#{String.duplicate("n", 100)}"]}) <> String.duplicate(" ", 100_000))

    assert :binary.referenced_byte_size(name) < 1000
  end

  test "a text in which a byte is another has a value, or raises an error of one line" do
    text = ~S({"a":[1,-2.5e+3,"é\u00e9\ud83d\ude00"],"b":{"c":null,"d":[true,false]}})

    for at <- 0..(byte_size(text) - 1), byte <- [?", ?\\, ?{, ?], ?,, ?9, ?e, ?\n, 0, 0x80, 0xFF] do
      <<before::binary-size(^at), _byte, rest::binary>> = text

      for other <- [<<before::binary, byte, rest::binary>>, <<before::binary, byte>>] do
        try do
          JSON.decode!(other)
        rescue
          error in Mlx.Error -> refute error.message =~ "\n"
        end
      end
    end
  end
end
