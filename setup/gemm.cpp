// What MLX asks BLAS for, the products of matrices, on OpenBLAS. Two things are decided here.
//
// A product that is soon done takes the thread that asks for it, and no other. OpenBLAS's threads wait for each other
// in the middle of a product, so that where another program has the core of one of them, all of them wait for its turn.
// Their number can be set, but only for the whole process, in which several threads of MLX multiply at a time. Of a
// batch OpenBLAS gives each product one thread, and the first product the thread that asks: so a product that is soon
// done is asked for as a batch of one.
//
// A product of a real matrix and a vector is left to gemv. OpenBLAS's gemm rearranges the matrix first, which there
// takes several times as long as the product: a language model that writes a token does little else.

#include <algorithm>

namespace {

enum { row_major = 101, no_transpose = 111, transpose = 112 };

// A product of at most as many multiplications of f32, or of others that take as long, is soon done: a second thread
// would save up to 0.2 ms, and may have to be waited for 4 ms and more.
constexpr double soon_done = 1 << 24;

// The number of elements from which all threads multiply a matrix and a vector: they gain little, as memory is what
// bounds the product.
constexpr long large = 1L << 26;

// OpenBLAS's gemv takes one thread for fewer than 460,800 elements. (On Neoverse V1 and V2 it has other limits.)
constexpr long piece = 460000;

template <class Element, class Scalar>
using Gemm = void(int order, int op_a, int op_b, int m, int n, int k, Scalar alpha, const Element* a, int lda,
                  const Element* b, int ldb, Scalar beta, Element* c, int ldc);

template <class Element>
using GemmBatch = void(int order, const int* op_a, const int* op_b, const int* m, const int* n, const int* k,
                       const Element* alpha, const Element** a, const int* lda, const Element** b, const int* ldb,
                       const Element* beta, Element** c, const int* ldc, int groups, const int* sizes);

template <class Real>
using Gemv = void(int order, int op, int rows, int columns, Real alpha, const Real* a, int lda, const Real* x,
                  int stride_x, Real beta, Real* y, int stride_y);

}  // namespace

extern "C" {
Gemm<float, float> scipy_cblas_sgemm, cblas_sgemm;
Gemm<double, double> scipy_cblas_dgemm, cblas_dgemm;
Gemm<void, const void*> scipy_cblas_cgemm, cblas_cgemm;
GemmBatch<float> scipy_cblas_sgemm_batch;
GemmBatch<double> scipy_cblas_dgemm_batch;
GemmBatch<void> scipy_cblas_cgemm_batch;
Gemv<float> scipy_cblas_sgemv;
Gemv<double> scipy_cblas_dgemv;
}

namespace {

// Complex numbers are given by their address in any case.
const float* address(const float& number) {
  return &number;
}
const double* address(const double& number) {
  return &number;
}
const void* address(const void* number) {
  return number;
}

// c = alpha op(A) op(B) + beta c, where `cost` is how long a multiplication takes beside one of f32.
template <auto all_threads, auto batch, int cost, class Element, class Scalar>
void gemm(int order, int op_a, int op_b, int m, int n, int k, Scalar alpha, const Element* a, int lda, const Element* b,
          int ldb, Scalar beta, Element* c, int ldc) {
  if (static_cast<double>(m) * n * k * cost > soon_done) {
    all_threads(order, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  } else {
    const int one = 1;
    batch(order, &op_a, &op_b, &m, &n, &k, address(alpha), &a, &lda, &b, &ldb, address(beta), &c, &ldc, one, &one);
  }
}

// y = alpha op(A) x + beta y, where A is stored in so many rows and columns. It is multiplied in pieces, each of which
// takes one thread.
template <auto multiply, class Real>
void gemv(int op, int rows, int columns, Real alpha, const Real* a, int lda, const Real* x, int stride_x, Real beta,
          Real* y, int stride_y) {
  bool whole = static_cast<long>(rows) * columns >= large;
  long width = whole ? columns : std::clamp<long>(columns, 1, piece);
  long height = whole ? rows : piece / width;
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

// The product of two matrices, of which one may be a vector.
template <auto multiply, auto matrices, class Real>
void product(int order, int op_a, int op_b, int m, int n, int k, Real alpha, const Real* a, int lda, const Real* b,
             int ldb, Real beta, Real* c, int ldc) {
  if (order == row_major && n == 1 && k > 0) {
    bool plain = op_a == no_transpose;
    gemv<multiply>(op_a, plain ? m : k, plain ? k : m, alpha, a, lda, b, op_b == no_transpose ? ldb : 1, beta, c, ldc);
  } else if (order == row_major && m == 1 && k > 0) {
    // The transposed product: c' = op(B)' a'.
    bool plain = op_b == no_transpose;
    gemv<multiply>(plain ? transpose : no_transpose, plain ? k : n, plain ? n : k, alpha, b, ldb, a,
                   op_a == no_transpose ? 1 : lda, beta, c, 1);
  } else {
    matrices(order, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
}

}  // namespace

extern "C" {
void cblas_sgemm(int order, int op_a, int op_b, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc) {
  product<scipy_cblas_sgemv, gemm<scipy_cblas_sgemm, scipy_cblas_sgemm_batch, 1, float, float>>(
      order, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void cblas_dgemm(int order, int op_a, int op_b, int m, int n, int k, double alpha, const double* a, int lda,
                 const double* b, int ldb, double beta, double* c, int ldc) {
  product<scipy_cblas_dgemv, gemm<scipy_cblas_dgemm, scipy_cblas_dgemm_batch, 2, double, double>>(
      order, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void cblas_cgemm(int order, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int lda,
                 const void* b, int ldb, const void* beta, void* c, int ldc) {
  gemm<scipy_cblas_cgemm, scipy_cblas_cgemm_batch, 4>(order, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
}
