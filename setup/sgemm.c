/* MLX asks for every product of f32 matrices through cblas_sgemm, also for that of a matrix and a vector. OpenBLAS's
   sgemm rearranges the matrix first, which there takes several times as long as the product: a language model that
   writes a token does little else. So this sgemm leaves such products to OpenBLAS's sgemv. */

enum { row_major = 101, no_transpose = 111, transpose = 112 };

/* The number of elements from which more threads are worth it: they gain little, as memory is what bounds the product,
   and where their cores are busy everything waits for them. */
static const long large = 1L << 26;

extern void scipy_cblas_sgemm(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*,
                              int);
extern void scipy_cblas_sgemv(int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
extern int scipy_openblas_get_num_threads(void);
extern void scipy_openblas_set_num_threads(int);

/* y = alpha op(A) x + beta y, where op(A) is a matrix of the given rows and columns. */
static void sgemv(int op, int rows, int columns, float alpha, const float* a, int lda, const float* x, int stride_x,
                  float beta, float* y, int stride_y) {
  static int threads;
  if (!threads) threads = scipy_openblas_get_num_threads();
  int one_thread = threads > 1 && (long)rows * columns < large;
  int stored_rows = op == no_transpose ? rows : columns;
  int stored_columns = op == no_transpose ? columns : rows;
  if (one_thread) scipy_openblas_set_num_threads(1);
  scipy_cblas_sgemv(row_major, op, stored_rows, stored_columns, alpha, a, lda, x, stride_x, beta, y, stride_y);
  if (one_thread) scipy_openblas_set_num_threads(threads);
}

void cblas_sgemm(int order, int op_a, int op_b, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc) {
  if (order == row_major && n == 1 && k > 0) {
    sgemv(op_a, m, k, alpha, a, lda, b, op_b == no_transpose ? ldb : 1, beta, c, ldc);
  } else if (order == row_major && m == 1 && k > 0) {
    /* The transposed product: c' = op(B)' a'. */
    sgemv(op_b == no_transpose ? transpose : no_transpose, n, k, alpha, b, ldb, a, op_a == no_transpose ? 1 : lda, beta,
          c, 1);
  } else {
    scipy_cblas_sgemm(order, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  }
}
