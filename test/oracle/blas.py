"""Calls the BLAS that libmlx is given on Linux, as libmlx does, and compares what it gives with numpy.

    blas.py LIBRARY products        each kind of product, on several threads at a time
    blas.py LIBRARY threads M N K   the number of threads that started or woke up for a product of f32
"""

import ctypes
import itertools
import os
import sys
import threading
import time

import numpy as np

ROW_MAJOR = 101
PLAIN, TRANSPOSED, CONJUGATED = 111, 112, 113
TYPES = {"s": np.float32, "d": np.float64, "c": np.complex64}

# Matrices without elements, vectors, and products on one thread and on all.
SIZES = [
    *[(0, 1, 3), (1, 0, 3), (1, 4, 0), (4, 1, 0), (3, 4, 0)],
    *[(1, 1, 1), (1, 70, 90), (70, 1, 90), (3, 5, 7), (64, 10, 128), (70, 80, 90), (260, 260, 260)],
]

# Products with vectors that are computed in pieces.
LONG = [(1, 700, 900), (700, 1, 900), (2, 1, 470_000), (1, 470_000, 2)]


def numbers(generator, letter, shape):
    real = generator.integers(-3, 4, shape, np.int8)
    return (real + 1j * generator.integers(-3, 4, shape) if letter == "c" else real).astype(TYPES[letter])


def operand(generator, letter, op, rows, columns, padding):
    """A matrix as it is stored, with more in each of its rows than belongs to it, and its value."""
    shape = (rows, columns) if op == PLAIN else (columns, rows)
    stored = numbers(generator, letter, (shape[0], shape[1] + padding))
    matrix = stored[:, : shape[1]].astype(np.complex128 if letter == "c" else np.float64)
    return stored, {PLAIN: matrix, TRANSPOSED: matrix.T, CONJUGATED: matrix.conj().T}[op]


def scalar(letter, number):
    if letter == "c":
        return np.array([number], np.complex64)
    return {"s": ctypes.c_float, "d": ctypes.c_double}[letter](number)


def argument(value):
    return ctypes.c_void_p(value.ctypes.data) if isinstance(value, np.ndarray) else value


def gemm(library, letter, *arguments):
    getattr(library, f"cblas_{letter}gemm")(ROW_MAJOR, *map(argument, arguments))


def check(library, generator, letter, size, ops, alpha, beta, padding):
    m, n, k = size
    a, left = operand(generator, letter, ops[0], m, k, padding)
    b, right = operand(generator, letter, ops[1], k, n, padding)
    c = numbers(generator, letter, (m, n + padding))
    expected = c.copy()
    expected[:, :n] = alpha * np.einsum("ik,kj->ij", left, right) + beta * c[:, :n]
    # What is not asked for is not read: the memory of a new array may hold anything.
    if beta == 0:
        c[:, :n] = np.nan
    scalars = scalar(letter, alpha), scalar(letter, beta)
    width = [max(1, matrix.shape[1]) for matrix in (a, b, c)]
    gemm(library, letter, *ops, m, n, k, scalars[0], a, width[0], b, width[1], scalars[1], c, width[2])
    if not np.array_equal(c, expected):
        raise AssertionError(f"{letter}gemm {size} {ops} alpha={alpha} beta={beta} padding={padding}")


def check_all(library, seed, failures):
    generator = np.random.default_rng(seed)
    for letter in TYPES:
        ops = (PLAIN, TRANSPOSED, CONJUGATED) if letter == "c" else (PLAIN, TRANSPOSED)
        sizes = SIZES if letter == "c" else SIZES + LONG
        for size, op_a, op_b in itertools.product(sizes, ops, ops):
            for alpha, beta, padding in [(1, 0, 0), (2, 0.5, 3)]:
                try:
                    check(library, generator, letter, size, (op_a, op_b), alpha, beta, padding)
                except AssertionError as error:
                    failures.append(str(error))


def products(library):
    failures = []
    threads = [threading.Thread(target=check_all, args=(library, seed, failures)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(failures) or "ok")


def sleeps(task):
    """How often a thread has gone to sleep, when it sleeps."""
    with open(f"/proc/self/task/{task}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return int(status["voluntary_ctxt_switches"]) if status["State"].strip().startswith("S") else None


def asleep(tasks):
    """How often the threads have gone to sleep, when all of them sleep."""
    while None in (counts := [sleeps(task) for task in tasks]):
        time.sleep(0.05)
    return counts


def other_threads():
    return sorted(int(task) for task in os.listdir("/proc/self/task") if int(task) != os.getpid())


def threads(library, m, n, k):
    others = other_threads()
    a, b, c = (np.ones(shape, np.float32) for shape in ((m, k), (k, n), (m, n)))
    before = asleep(others)
    gemm(library, "s", PLAIN, PLAIN, m, n, k, scalar("s", 1), a, k, b, n, scalar("s", 0), c, n)
    after = asleep(others)
    print(len(other_threads()) - len(others) + sum(x != y for x, y in zip(before, after)))


if __name__ == "__main__":
    LIBRARY = ctypes.CDLL(sys.argv[1])
    {"products": products, "threads": threads}[sys.argv[2]](LIBRARY, *map(int, sys.argv[3:]))
