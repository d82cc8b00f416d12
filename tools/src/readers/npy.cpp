#include <algorithm>
#include <cstring>

#include "arfc/base/error.h"
#include "arfc/base/half.h"
#include "readers/npy_array.h"
#include "readers/row_reader.h"

namespace arfc::tools {
namespace {

template <class From, class Convert>
void convert(std::span<const std::byte> bytes, std::span<float> values, const Convert& to_float) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        From value;
        std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
        values[i] = to_float(value);
    }
}

class NpyReader final : public RowReader {
  public:
    NpyReader(const std::filesystem::path& path, std::optional<std::size_t> dim) : array_(path) {
        const NpyHeader& header = array_.header();
        if (array_.kind() != 'f' ||
            (array_.item_bytes() != 2 && array_.item_bytes() != 4 && array_.item_bytes() != 8)) {
            fail(
                ErrorKind::kUnsupported, "Array is not of float16, float32 or float64 but of: \"",
                header.descr, "\" in ", path.string());
        }
        if (header.shape.size() != 2) {
            fail(
                ErrorKind::kInvalidArgument, "Array of ", path.string(),
                " has the wrong number of dimensions: ", header.shape.size(),
                ", expected 2, [rows, dim]");
        }
        if (header.fortran_order && header.shape[0] > 1 && header.shape[1] > 1) {
            fail(
                ErrorKind::kUnsupported,
                "Array is in Fortran order; save numpy.ascontiguousarray of it: ", path.string());
        }
        readers::require_dim(header.shape[1], dim, path);
        dim_ = static_cast<std::size_t>(header.shape[1]);
    }

    [[nodiscard]] std::size_t dim() const noexcept override { return dim_; }
    [[nodiscard]] std::optional<std::uint64_t> rows() const noexcept override {
        return array_.header().shape[0];
    }
    [[nodiscard]] std::optional<double> fraction_read() const noexcept override {
        return array_.fraction_read();
    }

    [[nodiscard]] bool next(std::size_t max_rows, RowBatch& batch) override {
        batch.clear();
        batch.dim = dim_;
        const std::uint64_t left = *rows() - next_row_;
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(max_rows, left));
        batch.embeddings.resize(count * dim_);
        read_floats(batch.embeddings);
        for (std::size_t i = 0; i < count; ++i) {
            batch.rows.push_back(next_row_++);
        }
        batch.ids.resize(count);
        batch.payloads.resize(count);
        return count > 0;
    }

  private:
    void read_floats(std::span<float> values) {
        if (array_.item_bytes() == sizeof(float)) {
            array_.read(std::as_writable_bytes(values));
            return;
        }
        buffer_.resize(values.size() * array_.item_bytes());
        array_.read(buffer_);
        if (array_.item_bytes() == sizeof(std::uint16_t)) {
            convert<std::uint16_t>(buffer_, values, from_half);
        } else {
            convert<double>(
                buffer_, values, [](double value) { return static_cast<float>(value); });
        }
    }

    NpyArray array_;
    std::size_t dim_ = 0;
    std::uint64_t next_row_ = 0;
    std::vector<std::byte> buffer_; // Elements that still have to be converted.
};

} // namespace

std::unique_ptr<RowReader> readers::open_npy(
    const std::filesystem::path& path, std::optional<std::size_t> dim) {
    return std::make_unique<NpyReader>(path, dim);
}

} // namespace arfc::tools
