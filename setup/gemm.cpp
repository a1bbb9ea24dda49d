// What MLX asks BLAS for, the products of matrices, on OpenBLAS. Two things are decided here.
//
// A product that takes long is cut into pieces, which several threads compute (see Workers). All others take the
// thread that asks for them, as does each piece. OpenBLAS would take its own threads, whose number can be set only for
// the whole process. But of a batch OpenBLAS gives each product one thread, and the first product the thread that asks:
// so it is asked for batches of one.
//
// A product of a real matrix and a vector is left to gemv. OpenBLAS's gemm rearranges the matrix first, which there
// takes several times as long as the product: a language model that writes a token does little else.

#include <algorithm>

#include "../c_src/core/threads/workers.hpp"

namespace {

enum { row_major = 101, no_transpose = 111, transpose = 112 };

struct Complex {
  float real, imaginary;
};

// How long a multiplication takes, beside one of f32.
template <class Element>
constexpr int cost = 1;
template <>
constexpr int cost<double> = 2;
template <>
constexpr int cost<Complex> = 4;

// A product of at most as many multiplications of f32, or of others that take as long, is soon done: a second thread
// would save up to 0.1 ms, and has to be woken.
constexpr double soon_done = 1 << 24;

// What a piece has at least. A thread takes several, so that one that is late leaves the others little to wait for.
constexpr double smallest_piece = 1 << 22;
constexpr int pieces_of_thread = 4;
constexpr int shortest_side = 32;

// The number of elements from which several threads multiply a matrix and a vector. One thread reads 27 to 35 GB/s of
// the 45 that two read together, so that fewer elements are multiplied before another thread is awake.
constexpr long large = 1L << 21;

// OpenBLAS's gemv takes one thread for fewer than 460,800 elements. (On Neoverse V1 and V2 it has other limits.)
constexpr long most_elements = 460000;

constinit mlx_nif::Workers workers;

template <class Element>
using Gemm = void(int order, int op_a, int op_b, int m, int n, int k, Element alpha, const Element* a, int lda,
                  const Element* b, int ldb, Element beta, Element* c, int ldc);

template <class Element>
using GemmBatch = void(int order, const int* op_a, const int* op_b, const int* m, const int* n, const int* k,
                       const Element* alpha, const Element** a, const int* lda, const Element** b, const int* ldb,
                       const Element* beta, Element** c, const int* ldc, int groups, const int* sizes);

template <class Real>
using Gemv = void(int order, int op, int rows, int columns, Real alpha, const Real* a, int lda, const Real* x,
                  int stride_x, Real beta, Real* y, int stride_y);

}  // namespace

extern "C" {
int scipy_openblas_get_num_threads();
Gemm<float> cblas_sgemm;
Gemm<double> cblas_dgemm;
void cblas_cgemm(int order, int op_a, int op_b, int m, int n, int k, const Complex* alpha, const Complex* a, int lda,
                 const Complex* b, int ldb, const Complex* beta, Complex* c, int ldc);
GemmBatch<float> scipy_cblas_sgemm_batch;
GemmBatch<double> scipy_cblas_dgemm_batch;
GemmBatch<Complex> scipy_cblas_cgemm_batch;
Gemv<float> scipy_cblas_sgemv;
Gemv<double> scipy_cblas_dgemv;
}

namespace {

// The beginning of a part, of so many equal ones of a length.
long beginning(long length, int parts, int part) {
  return length * part / parts;
}

// c = alpha op(A) op(B) + beta c, all stored in rows.
template <auto batch, class Element>
void gemm(int op_a, int op_b, int m, int n, int k, Element alpha, const Element* a, int lda, const Element* b, int ldb,
          Element beta, Element* c, int ldc) {
  const auto alone = [&](int rows, int columns, const Element* a, const Element* b, Element* c) {
    const int one = 1;
    batch(row_major, &op_a, &op_b, &rows, &columns, &k, &alpha, &a, &lda, &b, &ldb, &beta, &c, &ldc, one, &one);
  };
  const double multiplications = static_cast<double>(m) * n * k * cost<Element>;
  const int threads = scipy_openblas_get_num_threads();
  if (multiplications > soon_done && threads > 1) {
    // The less a piece differs from a square, the less of A and B is rearranged for it.
    const double pieces = std::min(multiplications / smallest_piece, 1.0 * threads * pieces_of_thread);
    int down = 1, across = 1;
    while (down * across < pieces && std::max(m / down, n / across) >= 2 * shortest_side) {
      (m / down >= n / across ? down : across) *= 2;
    }
    const auto piece = [&](int number) {
      const long row = beginning(m, down, number / across), row_end = beginning(m, down, number / across + 1);
      const long column = beginning(n, across, number % across), column_end = beginning(n, across, number % across + 1);
      alone(row_end - row, column_end - column, a + row * (op_a == no_transpose ? lda : 1),
            b + column * (op_b == no_transpose ? 1 : ldb), c + row * ldc + column);
    };
    if (workers.run(threads, down * across, piece)) {
      return;
    }
  }
  alone(m, n, a, b, c);
}

// y = alpha op(A) x + beta y, where A is stored in so many rows and columns. OpenBLAS multiplies it in blocks, each of
// which takes one thread.
template <auto multiply, class Real>
void gemv_alone(int op, long rows, long columns, Real alpha, const Real* a, int lda, const Real* x, int stride_x,
                Real beta, Real* y, int stride_y) {
  const long width = std::clamp<long>(columns, 1, most_elements);
  const long height = most_elements / width;
  for (long row = 0; row < rows; row += height) {
    for (long column = 0; column < columns; column += width) {
      long in = op == no_transpose ? column : row;
      long out = op == no_transpose ? row : column;
      multiply(row_major, op, std::min(height, rows - row), std::min(width, columns - column), alpha,
               a + row * lda + column, lda, x + in * stride_x, stride_x, in == 0 ? beta : 1, y + out * stride_y,
               stride_y);
    }
  }
}

template <auto multiply, class Real>
void gemv(int op, int rows, int columns, Real alpha, const Real* a, int lda, const Real* x, int stride_x, Real beta,
          Real* y, int stride_y) {
  const int threads = scipy_openblas_get_num_threads();
  if (static_cast<long>(rows) * columns >= large && threads > 1) {
    const bool plain = op == no_transpose;
    const int outputs = plain ? rows : columns;
    const int pieces = std::min(outputs, threads * pieces_of_thread);
    const auto piece = [&](int number) {
      const long begin = beginning(outputs, pieces, number), count = beginning(outputs, pieces, number + 1) - begin;
      gemv_alone<multiply>(op, plain ? count : rows, plain ? columns : count, alpha, a + begin * (plain ? lda : 1), lda,
                           x, stride_x, beta, y + begin * stride_y, stride_y);
    };
    if (workers.run(threads, pieces, piece)) {
      return;
    }
  }
  gemv_alone<multiply>(op, rows, columns, alpha, a, lda, x, stride_x, beta, y, stride_y);
}

// Stored in columns, the same numbers are the transposed matrices: c' = op(B)' op(A)'.
template <auto rows_of, class Element>
void in_rows(int order, int op_a, int op_b, int m, int n, int k, Element alpha, const Element* a, int lda,
             const Element* b, int ldb, Element beta, Element* c, int ldc) {
  if (order == row_major) {
    rows_of(op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  } else {
    rows_of(op_b, op_a, n, m, k, alpha, b, ldb, a, lda, beta, c, ldc);
  }
}

// The product of two matrices of real numbers, of which one may be a vector.
template <auto multiply, auto batch, class Real>
void product(int op_a, int op_b, int m, int n, int k, Real alpha, const Real* a, int lda, const Real* b, int ldb,
             Real beta, Real* c, int ldc) {
  if (n == 1 && k > 0) {
    bool plain = op_a == no_transpose;
    gemv<multiply>(op_a, plain ? m : k, plain ? k : m, alpha, a, lda, b, op_b == no_transpose ? ldb : 1, beta, c, ldc);
  } else if (m == 1 && k > 0) {
    // The transposed product: c' = op(B)' a'.
    bool plain = op_b == no_transpose;
    gemv<multiply>(plain ? transpose : no_transpose, plain ? k : n, plain ? n : k, alpha, b, ldb, a,
                   op_a == no_transpose ? 1 : lda, beta, c, 1);
  } else {
    gemm<batch>(op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
}

}  // namespace

extern "C" {
void cblas_sgemm(int order, int op_a, int op_b, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc) {
  in_rows<product<scipy_cblas_sgemv, scipy_cblas_sgemm_batch, float>>(order, op_a, op_b, m, n, k, alpha, a, lda, b, ldb,
                                                                      beta, c, ldc);
}

void cblas_dgemm(int order, int op_a, int op_b, int m, int n, int k, double alpha, const double* a, int lda,
                 const double* b, int ldb, double beta, double* c, int ldc) {
  in_rows<product<scipy_cblas_dgemv, scipy_cblas_dgemm_batch, double>>(order, op_a, op_b, m, n, k, alpha, a, lda, b,
                                                                       ldb, beta, c, ldc);
}

void cblas_cgemm(int order, int op_a, int op_b, int m, int n, int k, const Complex* alpha, const Complex* a, int lda,
                 const Complex* b, int ldb, const Complex* beta, Complex* c, int ldc) {
  in_rows<gemm<scipy_cblas_cgemm_batch, Complex>>(order, op_a, op_b, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
}
}
