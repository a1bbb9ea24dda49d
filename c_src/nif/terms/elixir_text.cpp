// Writes terms of each kind until the text is long enough.
#include "nif/terms/elixir_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>

namespace mlx_nif {
namespace {

// What comes behind so many bytes is left out.
constexpr std::size_t longest = 120;

std::string atom_name(ErlNifEnv* env, ERL_NIF_TERM atom) {
  unsigned length = 0;
  if (enif_get_atom_length(env, atom, &length, ERL_NIF_UTF8) == 0) {
    return {};
  }
  std::string name(length + 1, '\0');
  enif_get_atom(env, atom, name.data(), static_cast<unsigned>(name.size()), ERL_NIF_UTF8);
  name.resize(length);
  return name;
}

std::optional<ERL_NIF_TERM> find_value(ErlNifEnv* env, ERL_NIF_TERM map, const char* key) {
  ERL_NIF_TERM value;
  if (enif_get_map_value(env, map, enif_make_atom(env, key), &value) == 0) {
    return std::nullopt;
  }
  return value;
}

// The name of a struct's module, with "Elixir." in front; empty for what is none.
std::string struct_name(ErlNifEnv* env, ERL_NIF_TERM term) {
  const auto module = find_value(env, term, "__struct__");
  return module ? atom_name(env, *module) : std::string();
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_word(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

// Whether a name is an atom or key without quotes.
bool is_plain(std::string_view name) {
  if (name.ends_with('?') || name.ends_with('!')) {
    name.remove_suffix(1);
  }
  return !name.empty() && (is_letter(name.front()) || name.front() == '_') && std::ranges::all_of(name, is_word);
}

// The bytes of the character that text begins with, 0 when it cannot be printed.
std::size_t character_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) {
    return (first >= 0x20 && first != 0x7F) || first == '\n' || first == '\t' || first == '\r' ? 1 : 0;
  }
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) {
    return 0;
  }
  const bool continued = std::ranges::all_of(text.substr(1, length - 1), [](char c) { return (c & 0xC0) == 0x80; });
  return continued ? length : 0;
}

// Whether the part of a text that is shown can be printed.
bool is_printable(std::string_view text) {
  for (std::size_t shown = 0; shown < std::min(text.size(), longest);) {
    const std::size_t length = character_length(text.substr(shown));
    if (length == 0) {
      return false;
    }
    shown += length;
  }
  return true;
}

class Writer {
 public:
  explicit Writer(ErlNifEnv* env) : env_(env) {}

  void write(ERL_NIF_TERM term) {
    switch (enif_term_type(env_, term)) {
      case ERL_NIF_TERM_TYPE_ATOM:
        return write_atom(term);
      case ERL_NIF_TERM_TYPE_FLOAT:
        return write_float(term);
      case ERL_NIF_TERM_TYPE_BITSTRING:
        return write_bits(term);
      case ERL_NIF_TERM_TYPE_LIST:
        return write_list(term);
      case ERL_NIF_TERM_TYPE_TUPLE:
        return write_tuple(term);
      case ERL_NIF_TERM_TYPE_MAP:
        return write_map(term);
      default:
        return write_as_erlang(term);
    }
  }

  std::string take() { return std::move(text_); }

 private:
  bool full() const { return text_.size() >= longest; }

  // Calls `write_next()`, which returns whether there was something, with commas between.
  template <typename WriteNext>
  void write_elements(const WriteNext& write_next) {
    for (bool first = true;; first = false) {
      const std::size_t before = text_.size();
      text_ += first ? "" : ", ";
      if (full()) {
        text_ += "...";
        return;
      }
      if (!write_next()) {
        text_.resize(before);
        return;
      }
    }
  }

  void write_as_erlang(ERL_NIF_TERM term) {
    std::array<char, longest + 1> text{};
    enif_snprintf(text.data(), text.size(), "%T", term);
    text_ += text.data();
  }

  void write_quoted(std::string_view text) {
    text_ += '"';
    while (!text.empty() && !full()) {
      const std::size_t length = std::max(character_length(text), std::size_t{1});
      write_character(text.substr(0, length));
      text.remove_prefix(length);
    }
    text_ += text.empty() ? "\"" : "...";
  }

  void write_character(std::string_view character) {
    constexpr std::array<std::pair<char, std::string_view>, 6> escapes{
        {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', "\\n"}, {'\t', "\\t"}, {'\r', "\\r"}, {'#', "\\#"}}};
    const auto escape =
        std::ranges::find_if(escapes, [&](const auto& pair) { return pair.first == character.front(); });
    text_ += escape == escapes.end() ? character : escape->second;
  }

  void write_atom(ERL_NIF_TERM term) {
    constexpr std::string_view modules = "Elixir.";
    const std::string name = atom_name(env_, term);
    if (name == "nil" || name == "true" || name == "false") {
      text_ += name;
    } else if (name.starts_with(modules)) {
      text_ += std::string_view(name).substr(modules.size());
    } else if (is_plain(name)) {
      text_ += ":" + name;
    } else {
      text_ += ":";
      write_quoted(name);
    }
  }

  void write_key(ERL_NIF_TERM atom) {
    const std::string name = atom_name(env_, atom);
    if (is_plain(name)) {
      text_ += name;
    } else {
      write_quoted(name);
    }
    text_ += ": ";
  }

  // With a point, and without the plus and the zeros of an exponent in C.
  void write_float(ERL_NIF_TERM term) {
    double number = 0;
    enif_get_double(env_, term, &number);
    std::array<char, 32> digits{};
    const double size = std::abs(number);
    const bool plain = size == 0 || (size >= 1e-3 && size < 1e16);
    const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, format).ptr;
    const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
    const std::string_view mantissa = text.substr(0, text.find('e'));
    std::string_view exponent = text.substr(mantissa.size());
    text_ += mantissa;
    text_ += mantissa.find('.') == std::string_view::npos ? ".0" : "";
    if (!exponent.empty()) {
      text_ += exponent.starts_with("e-") ? "e-" : "e";
      exponent.remove_prefix(std::min(exponent.find_first_not_of("e+-0"), exponent.size() - 1));
      text_ += exponent;
    }
  }

  void write_bits(ERL_NIF_TERM term) {
    ErlNifBinary binary;
    if (enif_inspect_binary(env_, term, &binary) == 0) {
      return write_as_erlang(term);
    }
    const std::string_view bytes(reinterpret_cast<const char*>(binary.data), binary.size);
    if (is_printable(bytes)) {
      return write_quoted(bytes);
    }
    std::size_t index = 0;
    text_ += "<<";
    write_elements([&] {
      if (index == binary.size) {
        return false;
      }
      text_ += std::to_string(binary.data[index++]);
      return true;
    });
    text_ += ">>";
  }

  // The atom and the value of an element of a keyword list.
  std::optional<std::pair<ERL_NIF_TERM, ERL_NIF_TERM>> option(ERL_NIF_TERM term) {
    int arity = 0;
    const ERL_NIF_TERM* parts = nullptr;
    if (enif_get_tuple(env_, term, &arity, &parts) == 0 || arity != 2 || enif_is_atom(env_, parts[0]) == 0) {
      return std::nullopt;
    }
    return std::pair(parts[0], parts[1]);
  }

  // Of a long list, whether it begins like one.
  bool is_keyword_list(ERL_NIF_TERM list) {
    ERL_NIF_TERM head;
    std::size_t count = 0;
    while (count < longest && enif_get_list_cell(env_, list, &head, &list) != 0) {
      if (!option(head)) {
        return false;
      }
      ++count;
    }
    return count == longest || (count > 0 && enif_is_empty_list(env_, list) != 0);
  }

  void write_list(ERL_NIF_TERM list) {
    const bool keyword = is_keyword_list(list);
    ERL_NIF_TERM head;
    text_ += "[";
    write_elements([&] {
      if (enif_get_list_cell(env_, list, &head, &list) == 0) {
        return false;
      }
      if (const auto pair = option(head); keyword && pair) {
        write_key(pair->first);
        write(pair->second);
      } else {
        write(head);
      }
      return true;
    });
    if (enif_is_list(env_, list) == 0 && !full()) {
      text_ += " | ";
      write(list);
    }
    text_ += "]";
  }

  void write_tuple(ERL_NIF_TERM term) {
    int arity = 0;
    const ERL_NIF_TERM* elements = nullptr;
    enif_get_tuple(env_, term, &arity, &elements);
    int index = 0;
    text_ += "{";
    write_elements([&] {
      if (index == arity) {
        return false;
      }
      write(elements[index++]);
      return true;
    });
    text_ += "}";
  }

  bool write_array(ERL_NIF_TERM term) {
    const auto type = find_value(env_, term, "type");
    const auto shape = find_value(env_, term, "shape");
    int rank = 0;
    const ERL_NIF_TERM* sizes = nullptr;
    if (!type || !shape || enif_get_tuple(env_, *shape, &rank, &sizes) == 0) {
      return false;
    }
    text_ += "#Mlx.Array<" + atom_name(env_, *type);
    std::for_each(sizes, sizes + rank, [&](ERL_NIF_TERM size) {
      text_ += "[";
      write(size);
      text_ += "]";
    });
    text_ += ">";
    return true;
  }

  void write_map(ERL_NIF_TERM term) {
    const std::string name = struct_name(env_, term);
    if (is_array_struct(env_, term) && write_array(term)) {
      return;
    }
    text_ += "%";
    if (!name.empty()) {
      write_atom(*find_value(env_, term, "__struct__"));
    }
    text_ += "{";
    ErlNifMapIterator position;
    if (enif_map_iterator_create(env_, term, &position, ERL_NIF_MAP_ITERATOR_FIRST) != 0) {
      write_elements([&] { return write_next_pair(position, !name.empty()); });
      enif_map_iterator_destroy(env_, &position);
    }
    text_ += "}";
  }

  bool write_next_pair(ErlNifMapIterator& position, bool in_struct) {
    ERL_NIF_TERM key;
    ERL_NIF_TERM value;
    for (; enif_map_iterator_get_pair(env_, &position, &key, &value) != 0; enif_map_iterator_next(env_, &position)) {
      if (in_struct && atom_name(env_, key) == "__struct__") {
        continue;
      }
      if (enif_is_atom(env_, key) != 0) {
        write_key(key);
      } else {
        write(key);
        text_ += " => ";
      }
      write(value);
      enif_map_iterator_next(env_, &position);
      return true;
    }
    return false;
  }

  ErlNifEnv* env_;
  std::string text_;
};

}  // namespace

std::string elixir_text(ErlNifEnv* env, ERL_NIF_TERM term) {
  Writer writer(env);
  writer.write(term);
  return writer.take();
}

bool is_array_struct(ErlNifEnv* env, ERL_NIF_TERM term) {
  return struct_name(env, term) == "Elixir.Mlx.Array";
}

std::string array_hint(ErlNifEnv* env, ERL_NIF_TERM term) {
  const std::string name = struct_name(env, term);
  if (name == "Elixir.Nx.Tensor") {
    return "; Mlx.Nx.from_nx/1 makes an array of a tensor";
  }
  if (name == "Elixir.Range") {
    return "; Mlx.array/1 makes an array of a range";
  }
  ERL_NIF_TERM head;
  ERL_NIF_TERM tail;
  if (enif_get_list_cell(env, term, &head, &tail) == 0) {
    return enif_is_empty_list(env, term) != 0 ? "; Mlx.array/1 makes an array of a list" : "";
  }
  if (is_array_struct(env, head)) {
    return "; Mlx.stack/1 makes one array of a list of arrays";
  }
  int arity = 0;
  const ERL_NIF_TERM* parts = nullptr;
  if (enif_get_tuple(env, head, &arity, &parts) != 0 && arity == 2 && enif_is_atom(env, parts[0]) != 0) {
    return "; options come after all other arguments";
  }
  return "; Mlx.array/1 makes an array of a list";
}

}  // namespace mlx_nif
