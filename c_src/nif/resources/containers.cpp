// Walks containers without recursion, since a scheduler has a small stack.
#include "nif/resources/containers.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <numeric>

#include "nif/calls/call.hpp"
#include "nif/resources/arrays.hpp"
#include "nif/terms/term.hpp"

namespace mlx_nif {
namespace {

// More take a normal scheduler too long.
constexpr std::size_t most_parts_inline = 5000;

struct MapEntries {
  // In the order in which the VM has them.
  std::vector<ERL_NIF_TERM> keys;
  std::vector<ERL_NIF_TERM> values;
  // That of `Mlx.Tree`, which sorts the keys.
  std::vector<std::size_t> order;
  bool ordered = true;
};

MapEntries entries_of(ErlNifEnv* env, ERL_NIF_TERM map, std::size_t size) {
  MapEntries entries;
  entries.keys.reserve(size);
  entries.values.reserve(size);
  ErlNifMapIterator iterator;
  enif_map_iterator_create(env, map, &iterator, ERL_NIF_MAP_ITERATOR_FIRST);
  ERL_NIF_TERM key;
  ERL_NIF_TERM value;
  while (enif_map_iterator_get_pair(env, &iterator, &key, &value) != 0) {
    entries.keys.push_back(key);
    entries.values.push_back(value);
    enif_map_iterator_next(env, &iterator);
  }
  enif_map_iterator_destroy(env, &iterator);
  entries.order.resize(entries.keys.size());
  std::iota(entries.order.begin(), entries.order.end(), std::size_t{0});
  std::ranges::sort(entries.order,
                    [&](std::size_t a, std::size_t b) { return enif_compare(entries.keys[a], entries.keys[b]) < 0; });
  entries.ordered = std::ranges::adjacent_find(entries.order, [&](std::size_t a, std::size_t b) {
                      return enif_compare(entries.keys[a], entries.keys[b]) == 0;
                    }) == entries.order.end();
  return entries;
}

bool is_array(ErlNifEnv* env, ERL_NIF_TERM term) {
  ERL_NIF_TERM module;
  return enif_get_map_value(env, term, atoms.struct_, &module) != 0 &&
         enif_is_identical(module, atoms.array_module) != 0;
}

}  // namespace

FlatContainer::FlatContainer(ErlNifEnv* env, ERL_NIF_TERM container, bool any_shape) : any_shape_(any_shape) {
  open_.push_back(container);
  while (!open_.empty()) {
    const ERL_NIF_TERM next = open_.back();
    open_.pop_back();
    add(env, next);
  }
  arrays_.reserve(pins_.size());
  std::ranges::transform(pins_, std::back_inserter(arrays_), &Pin::get);
}

void FlatContainer::add(ErlNifEnv* env, ERL_NIF_TERM term) {
  std::size_t size = 0;
  int arity = 0;
  const ERL_NIF_TERM* elements = nullptr;
  if (add_array(env, term)) {
    return;
  }
  if (enif_get_map_size(env, term, &size) != 0) {
    const MapEntries entries = entries_of(env, term, size);
    ordered_ &= entries.ordered;
    add_part({ContainerPart::map, static_cast<std::uint32_t>(size)});
    for (const std::size_t entry : entries.order) {
      add_term(entries.keys[entry]);
    }
    std::transform(entries.order.rbegin(), entries.order.rend(), std::back_inserter(open_),
                   [&](std::size_t entry) { return entries.values[entry]; });
  } else if (enif_get_tuple(env, term, &arity, &elements) != 0) {
    add_part({ContainerPart::tuple, static_cast<std::uint32_t>(arity)});
    std::reverse_copy(elements, elements + arity, std::back_inserter(open_));
  } else {
    add_list(env, term);
  }
}

// A list, of which the arrays in front are the common case, or whatever is no container.
void FlatContainer::add_list(ErlNifEnv* env, ERL_NIF_TERM list) {
  ERL_NIF_TERM head;
  ERL_NIF_TERM tail;
  while (enif_get_list_cell(env, list, &head, &tail) != 0) {
    add_part({ContainerPart::cons});
    if (!add_array(env, head)) {
      open_.push_back(tail);
      open_.push_back(head);
      return;
    }
    list = tail;
  }
  // The tail of an improper list may be a container.
  if (enif_is_map(env, list) != 0 || enif_is_tuple(env, list) != 0) {
    open_.push_back(list);
    return;
  }
  add_part({ContainerPart::term});
  add_term(list);
}

bool FlatContainer::add_array(ErlNifEnv* env, ERL_NIF_TERM term) {
  if (!is_array(env, term)) {
    return false;
  }
  pins_.push_back(decode_array(env, term));
  const mlx_array array = pins_.back().get()->get();
  const auto shape = shape_of(array);
  add_part({ContainerPart::array});
  mix(static_cast<std::uint64_t>(mlx_array_dtype(array)) << 32 | shape.size());
  if (!any_shape_) {
    for (const int size : shape) {
      mix(static_cast<std::uint64_t>(size));
    }
  }
  return true;
}

void FlatContainer::add_part(ContainerPart part) {
  if (parts_.size() == most_parts_inline) {
    require_dirty_scheduler();
  }
  parts_.push_back(part);
  mix(static_cast<std::uint64_t>(part.kind) << 32 | part.size);
}

void FlatContainer::add_term(ERL_NIF_TERM term) {
  terms_.push_back(term);
  mix(enif_hash(ERL_NIF_INTERNAL_HASH, term, 0));
}

void FlatContainer::mix(std::uint64_t value) {
  constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;
  hash_ = std::rotl((hash_ ^ value) * odd, 29);
}

ContainerForm::ContainerForm(ErlNifEnv* env, const FlatContainer& container)
    : any_shape_(container.any_shape_), parts_(container.parts_) {
  std::ranges::transform(container.terms_, std::back_inserter(terms_),
                         [env](ERL_NIF_TERM term) { return enif_make_copy(env, term); });
  for (const Array* element : container.arrays()) {
    arrays_.push_back(kind_of(element->get()));
  }
  for (const ContainerPart& part : parts_) {
    if (part.kind == ContainerPart::map) {
      numbers_.insert(numbers_.end(), part.size, NumberKind::none);
    } else if (part.kind == ContainerPart::term) {
      numbers_.push_back(number_kind(env, terms_[numbers_.size()]));
    }
  }
}

// Atoms stand for the numbers that the VM's floats cannot be.
ContainerForm::NumberKind ContainerForm::number_kind(ErlNifEnv* env, ERL_NIF_TERM term) {
  const auto is = [term](ERL_NIF_TERM atom) { return enif_is_identical(term, atom) != 0; };
  switch (enif_term_type(env, term)) {
    case ERL_NIF_TERM_TYPE_INTEGER:
      return NumberKind::integer;
    case ERL_NIF_TERM_TYPE_FLOAT:
      return NumberKind::floating;
    case ERL_NIF_TERM_TYPE_ATOM:
      return is(atoms.nan) || is(atoms.infinity) || is(atoms.neg_infinity) ? NumberKind::floating : NumberKind::none;
    default:
      return NumberKind::none;
  }
}

bool ContainerForm::is_of(const FlatContainer& container) const {
  const auto has_form = [this](const ArrayKind& form, const Array* element) {
    const auto shape = shape_of(element->get());
    return mlx_array_dtype(element->get()) == form.type &&
           (any_shape_ ? shape.size() == form.shape.size() : std::ranges::equal(shape, form.shape));
  };
  const auto same = [](ERL_NIF_TERM a, ERL_NIF_TERM b) { return enif_is_identical(a, b) != 0; };
  return any_shape_ == container.any_shape_ && std::ranges::equal(parts_, container.parts_) &&
         std::ranges::equal(arrays_, container.arrays(), has_form) &&
         std::ranges::equal(terms_, container.terms_, same);
}

bool ContainerForm::differs_in_numbers_only(const ContainerForm& other) const {
  const auto same_kind = [this](const ArrayKind& a, const ArrayKind& b) {
    return any_shape_ ? a.type == b.type && a.shape.size() == b.shape.size() : a == b;
  };
  if (any_shape_ != other.any_shape_ || parts_ != other.parts_ || terms_.size() != other.terms_.size() ||
      !std::ranges::equal(arrays_, other.arrays_, same_kind)) {
    return false;
  }
  for (std::size_t index = 0; index < terms_.size(); ++index) {
    const bool alike = numbers_[index] == NumberKind::none ? enif_is_identical(terms_[index], other.terms_[index]) != 0
                                                           : numbers_[index] == other.numbers_[index];
    if (!alike) {
      return false;
    }
  }
  return true;
}

// The steps are found from the last to the first, each part in front of what it is made of.
std::optional<ContainerTemplate> ContainerTemplate::of(ErlNifEnv* env, ERL_NIF_TERM container) {
  ContainerTemplate made;
  std::vector<ERL_NIF_TERM> open{container};
  while (!open.empty()) {
    const ERL_NIF_TERM term = open.back();
    open.pop_back();
    std::size_t size = 0;
    int arity = 0;
    const ERL_NIF_TERM* elements = nullptr;
    ERL_NIF_TERM head;
    ERL_NIF_TERM tail;
    Step& step = made.steps_.emplace_back();
    if (is_array(env, term)) {
      step.part = {ContainerPart::array};
      ++made.array_count_;
    } else if (enif_get_list_cell(env, term, &head, &tail) != 0) {
      step.part = {ContainerPart::cons};
      open.push_back(head);
      open.push_back(tail);
    } else if (enif_get_tuple(env, term, &arity, &elements) != 0) {
      step.part = {ContainerPart::tuple, static_cast<std::uint32_t>(arity)};
      std::copy_n(elements, arity, std::back_inserter(open));
    } else if (enif_get_map_size(env, term, &size) != 0) {
      MapEntries entries = entries_of(env, term, size);
      if (!entries.ordered) {
        return std::nullopt;
      }
      step.part = {ContainerPart::map, static_cast<std::uint32_t>(size)};
      step.value_of_key.resize(size);
      for (std::size_t place = 0; place < size; ++place) {
        step.value_of_key[entries.order[place]] = place;
        open.push_back(entries.values[entries.order[place]]);
      }
      step.keys = std::move(entries.keys);
    } else {
      step.part = {ContainerPart::term};
      step.term = term;
    }
  }
  std::ranges::reverse(made.steps_);
  return made;
}

ERL_NIF_TERM ContainerTemplate::fill(ErlNifEnv* env, std::span<const ERL_NIF_TERM> arrays) const {
  std::vector<ERL_NIF_TERM> values;
  std::size_t next_array = 0;
  const auto replace_last = [&values](std::size_t count, ERL_NIF_TERM value) {
    values.resize(values.size() - count);
    values.push_back(value);
  };
  const auto last = [&values](std::size_t count) { return values.data() + values.size() - count; };
  for (const Step& step : steps_) {
    const std::size_t size = step.part.size;
    switch (step.part.kind) {
      case ContainerPart::array:
        values.push_back(arrays[next_array++]);
        break;
      case ContainerPart::term:
        values.push_back(enif_make_copy(env, step.term));
        break;
      case ContainerPart::cons:
        replace_last(2, enif_make_list_cell(env, last(2)[0], last(2)[1]));
        break;
      case ContainerPart::tuple:
        replace_last(size, enif_make_tuple_from_array(env, last(size), static_cast<unsigned>(size)));
        break;
      case ContainerPart::map: {
        std::vector<ERL_NIF_TERM> keys(size);
        std::vector<ERL_NIF_TERM> ordered(size);
        for (std::size_t key = 0; key < size; ++key) {
          keys[key] = enif_make_copy(env, step.keys[key]);
          ordered[key] = last(size)[step.value_of_key[key]];
        }
        ERL_NIF_TERM map;
        enif_make_map_from_arrays(env, keys.data(), ordered.data(), size, &map);
        replace_last(size, map);
        break;
      }
    }
  }
  return values.front();
}

}  // namespace mlx_nif
