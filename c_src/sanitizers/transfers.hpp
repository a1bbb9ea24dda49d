// Elements that go from the host into arrays, and from arrays to files.
#pragma once

namespace mlx_nif::stress {

// Half of the threads write values to files, as saving does, while the others evaluate with the same values.
void saved_values();

// Elements go into buffers that are kept for them, which others give back, and which are freed meanwhile.
void uploaded_elements();

}  // namespace mlx_nif::stress
