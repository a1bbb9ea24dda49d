// Mistakes on purpose, each of which a sanitizer has to report.
#pragma once

namespace mlx_nif::stress {

// Two threads use one node without the lock of its graph; which of them is first makes no difference to the sanitizer.
void use_without_lock();

// Reads the bytes of a value after its last handle is gone.
void use_after_free();

}  // namespace mlx_nif::stress
