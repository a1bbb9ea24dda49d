// Chains as texts are generated: the next step is built while the one before is handed to MLX.
#include "sanitizers/ahead.hpp"

#include <utility>
#include <vector>

#include "core/evaluation/ahead.hpp"
#include "sanitizers/crowd.hpp"
#include "sanitizers/operations.hpp"

namespace mlx_nif::stress {
namespace {

constexpr int steps = 20;

constexpr BuildTraits as_compiled{.promises = GraphLock::Promises::left_open};

std::vector<Reference> references(std::vector<Successor>& successors) {
  std::vector<Reference> made;
  for (Successor& successor : successors) {
    made.push_back(std::make_shared<Array>(std::move(successor.handle), successor.graph, successor.stream,
                                           successor.traits, Trace(), holding()));
  }
  return made;
}

struct Started {
  std::vector<Reference> continued;
  std::vector<Reference> read;
};

// Gives the first arrays up.
Started start_ahead(const std::vector<Reference>& continued, const std::vector<Reference>& read) {
  Successors successors =
      call([&](Waiting waiting) { return evaluate_ahead(Operands(continued).all(), Operands(read).all(), waiting); });
  for (const Reference& array : continued) {
    array->deallocate();
  }
  return {references(successors.continued), references(successors.read)};
}

}  // namespace

void chains_ahead() {
  for (int round = 0; round < rounds / 10; ++round) {
    // It makes the graphs of all threads one.
    const Reference one = add(value(0), 1);
    in_parallel([&](int index) {
      Reference last = matrix(static_cast<float>(index), 16);
      Reference shown;
      for (int step = 0; step < steps; ++step) {
        const Reference sum = add(last, one, as_compiled);
        Started started = start_ahead({sum}, {sum});
        if (shown) {
          expect_equal(read(shown), static_cast<float>(index + step), "a step while the next one is handed over");
        }
        last = std::move(started.continued.front());
        shown = std::move(started.read.front());
      }
      expect_equal(read(add(last, 1)), static_cast<float>(index + steps + 1), "an operation after a chain");
    });
  }
}

// Others use what one thread goes on with: they join its graphs, evaluate them alone, ask, and drop them.
void shared_results_ahead() {
  for (int round = 0; round < rounds / 4; ++round) {
    const Reference product = matmul(matrix(1, 64), matrix(1, 64));
    const Started started = start_ahead({product, add(product, 1)}, {product});
    const Reference& first = started.continued.front();
    const Reference& second = started.continued.back();
    in_parallel([&](int index) {
      switch (index % 4) {
        case 0: {
          const Reference sum = add(first, second, as_compiled);
          const Started next = start_ahead({sum}, {});
          expect_equal(read(add(next.continued.front(), second)), 64 + 65 + 65, "a sum over shared results");
          break;
        }
        case 1:
          is_available(second);
          expect_equal(read(started.read.front()), 64, "a shared result that is read");
          break;
        case 2:
          expect_equal(read(add(inverse(matrix(2, 1)), take(first, value(0)))), 64.5F,
                       "a sum with what is computed alone");
          break;
        default:
          expect_equal(read(matmul(first, second)), 64 * 64 * 65, "a product of shared results");
      }
    });
  }
}

void failures_ahead() {
  for (int round = 0; round < rounds / 10; ++round) {
    in_parallel([](int index) {
      const bool fails = index % 2 == 0;
      const Reference matrix_or_zero = fails ? matrix(0, 4) : add(matrix(1, 1), 1);
      const Reference result = inverse(matrix_or_zero);
      const Started started = start_ahead({result}, {result});
      const auto expect = [&](const auto& value, float expected) {
        try {
          expect_equal(value(), expected, "an inverse ahead");
          if (fails) {
            fail("the inverse of a singular matrix has a value");
          }
        } catch (const Error&) {
          if (!fails) {
            throw;
          }
        }
      };
      expect([&] { return read(add(started.continued.front(), 1, as_compiled)); }, 1.5F);
      expect([&] { return read(started.read.front()); }, 0.5F);
    });
  }
}

}  // namespace mlx_nif::stress
