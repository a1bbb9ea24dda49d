// Evaluations ahead, on whose results others build before they are scheduled.
#pragma once

namespace mlx_nif::stress {

void chains_ahead();
void shared_results_ahead();
void failures_ahead();

}  // namespace mlx_nif::stress
