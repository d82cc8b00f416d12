#pragma once

#include <cstddef>
#include <vector>

namespace arfc {

/// What codes of one length leave of rows that a model was not trained on.
struct HeldOutResidual {
    std::size_t bytes = 0; ///< Code length.
    double share = 0;     ///< Squared length of row minus reconstruction over that of the row, both
                          ///< summed over the rows; at least 0, about 1 where codes know nothing.
    double deviation = 0; ///< Standard deviation of one row's contribution to `share`: that of n
                          ///< rows has a standard error of deviation / sqrt(n).
};

/// What codes of one length leave of new rows, beside what they left of held-out ones.
struct DriftPoint {
    std::size_t bytes;        ///< Code length.
    double residual;          ///< Share of the new rows' squared length, as HeldOutResidual::share.
    double held_out_residual; ///< Of the rows held out in training.
    double ratio;             ///< residual / held_out_residual; 1: known as well as those.
    double threshold;         ///< Above it the ratio is neither chance nor the difference between
                              ///< samples of one kind of rows.
};

/// How well a model knows new rows, measured by what it knows of rows like those it was trained on.
struct Drift {
    std::size_t rows = 0;           ///< Rows measured.
    std::vector<DriftPoint> points; ///< Ascending bytes; never empty.

    /// Returns whether the rows are unlike those of the training: codes of some length leave more
    /// than the threshold.
    [[nodiscard]] bool is_beyond_threshold() const noexcept {
        return worst().ratio > worst().threshold;
    }
    /// Returns the length at which the ratio is the furthest above its threshold, or the nearest
    /// below.
    [[nodiscard]] const DriftPoint& worst() const noexcept {
        const DriftPoint* worst = points.data();
        for (const DriftPoint& point : points) {
            if (point.ratio * worst->threshold > worst->ratio * point.threshold) {
                worst = &point;
            }
        }
        return *worst;
    }
};

} // namespace arfc
