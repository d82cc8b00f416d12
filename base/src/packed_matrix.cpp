#include "arfc/base/packed_matrix.h"

#include "product_kernel.h"

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

void PackedMatrix::copy_row(std::size_t i, std::span<float> row) const noexcept {
    const float* const from = panels_.data() + i / kPanel * inner_ * kPanel + i % kPanel;
    for (std::size_t l = 0; l < inner_; ++l) {
        row[l] = from[l * kPanel];
    }
}

void PackedMatrix::multiply_leading(
    const float* a, std::size_t lda, std::size_t count, std::size_t leading, float* out,
    std::size_t ldout) const {
    static const ProductKernel kKernel = product_kernel();
    kKernel(a, lda, count, inner_, panels_.data(), padded_columns(leading) / kPanel, out, ldout);
}

} // namespace arfc
