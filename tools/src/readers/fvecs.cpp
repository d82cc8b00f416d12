#include <algorithm>
#include <cstring>

#include "arfc/base/error.h"
#include "readers/input_file.h"
#include "readers/row_reader.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kWidthBytes = 4; // The int32 before each row.

std::int32_t width_at(const std::byte* bytes) {
    std::int32_t width = 0;
    std::memcpy(&width, bytes, sizeof width);
    return width;
}

/// Source: http://corpus-texmex.irisa.fr, "File formats".
class FvecsReader final : public RowReader {
  public:
    FvecsReader(const std::filesystem::path& path, std::optional<std::size_t> dim) : file_(path) {
        const std::uint64_t size = required_size(file_, ".fvecs");
        if (size == 0) {
            fail(
                ErrorKind::kCorruption,
                "An .fvecs file without rows has no width: ", path.string());
        }
        file_.read_exactly(first_width_, "first row's width");
        const std::int32_t width = width_at(first_width_.data());
        if (width < 1 || width > static_cast<std::int32_t>(kMaxDim)) {
            fail(
                ErrorKind::kCorruption, "First row of ", path.string(),
                " has a width out of range, so this is no .fvecs file: ", width, ", expected 1 to ",
                kMaxDim);
        }
        readers::require_dim(static_cast<std::uint64_t>(width), dim, path);
        dim_ = static_cast<std::size_t>(width);
        if (size % row_bytes() != 0) {
            fail(
                ErrorKind::kCorruption, "Size of ", path.string(),
                " is not a multiple of its row's: ", size, " bytes, ", row_bytes(),
                " a row; the last row is cut short");
        }
        rows_ = size / row_bytes();
    }

    [[nodiscard]] std::size_t dim() const noexcept override { return dim_; }
    [[nodiscard]] std::optional<std::uint64_t> rows() const noexcept override { return rows_; }
    [[nodiscard]] std::optional<double> fraction_read() const noexcept override {
        return static_cast<double>(next_row_) / static_cast<double>(rows_);
    }

    [[nodiscard]] bool next(std::size_t max_rows, RowBatch& batch) override {
        batch.clear();
        batch.dim = dim_;
        const auto count =
            static_cast<std::size_t>(std::min<std::uint64_t>(max_rows, rows_ - next_row_));
        if (count == 0) {
            return false;
        }
        read_rows(count);
        batch.embeddings.resize(count * dim_);
        for (std::size_t i = 0; i < count; ++i) {
            const std::byte* const row = buffer_.data() + i * row_bytes();
            if (width_at(row) != static_cast<std::int32_t>(dim_)) {
                fail(
                    ErrorKind::kCorruption, "Row of ", file_.path().string(),
                    " has another width than the first: ", width_at(row), ", expected ", dim_,
                    ", row ", next_row_);
            }
            std::memcpy(
                batch.embeddings.data() + i * dim_, row + kWidthBytes, dim_ * sizeof(float));
            batch.rows.push_back(next_row_++);
        }
        batch.ids.resize(count);
        batch.payloads.resize(count);
        return true;
    }

  private:
    [[nodiscard]] std::size_t row_bytes() const noexcept {
        return kWidthBytes + dim_ * sizeof(float);
    }

    void read_rows(std::size_t count) {
        buffer_.resize(count * row_bytes());
        std::span<std::byte> rest = buffer_;
        if (next_row_ == 0) { // The first width was read to know what a row is.
            std::ranges::copy(first_width_, rest.begin());
            rest = rest.subspan(kWidthBytes);
        }
        file_.read_exactly(rest, "rows");
    }

    InputFile file_;
    std::array<std::byte, kWidthBytes> first_width_{};
    std::size_t dim_ = 0;
    std::uint64_t rows_ = 0;
    std::uint64_t next_row_ = 0;
    std::vector<std::byte> buffer_;
};

} // namespace

std::unique_ptr<RowReader> readers::open_fvecs(
    const std::filesystem::path& path, std::optional<std::size_t> dim) {
    return std::make_unique<FvecsReader>(path, dim);
}

} // namespace arfc::tools
