/* libmlx asks for LAPACK by its plain names; the OpenBLAS that bin/setup brings has its own before each. What libmlx asks
   BLAS for is in gemm.cpp. */

#if defined(__x86_64__)
#define JUMP(name) jmp name@PLT
#elif defined(__aarch64__)
#define JUMP(name) b name
#endif

#define FORWARD(name)    \
  .globl name;           \
  .type name, %function; \
  name:                  \
  JUMP(scipy_##name);    \
  .size name, .- name

#define FORWARD_REAL(name) \
  FORWARD(s##name##_);     \
  FORWARD(d##name##_)

  .text
  FORWARD_REAL(geev)
  FORWARD_REAL(geqrf)
  FORWARD_REAL(gesdd)
  FORWARD_REAL(getrf)
  FORWARD_REAL(getri)
  FORWARD_REAL(orgqr)
  FORWARD_REAL(potrf)
  FORWARD_REAL(syevd)
  FORWARD_REAL(trtri)
  FORWARD(cgeev_)
  FORWARD(cgesdd_)
  FORWARD(cheevd_)

  .section .note.GNU-stack, "", %progbits
