#include "packed_matrix.h"

namespace arfc {

PackedMatrix::PackedMatrix(MatrixView<const float> rows) : rows_(rows.rows()), inner_(rows.cols()) {
    const std::size_t panel_count = padded_columns(rows_) / kPanel;
    panels_ = AlignedFloats(panel_count * inner_ * kPanel);
    for (std::size_t p = 0; p < panel_count; ++p) {
        float* const panel = panels_.data() + p * inner_ * kPanel;
        for (std::size_t j = 0; j < kPanel; ++j) {
            const std::size_t row = p * kPanel + j;
            for (std::size_t l = 0; l < inner_; ++l) {
                panel[l * kPanel + j] = row < rows_ ? rows.row(row)[l] : 0.0F;
            }
        }
    }
}

} // namespace arfc
