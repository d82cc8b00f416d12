#include <cstring>

#include "arfc/base/error.h"
#include "readers/attached_reader.h"
#include "readers/npy_array.h"

namespace arfc::tools {
namespace {

/// Reads an integer of `bytes` bytes as it lies in a .npy file of kind 'i' or 'u'.
/// @returns nothing where it is negative.
std::optional<PointId> to_id(const std::byte* data, std::size_t bytes, bool has_sign) {
    PointId id = 0;
    std::memcpy(&id, data, bytes);
    const PointId sign = PointId{1} << (8 * bytes - 1);
    return has_sign && (id & sign) != 0 ? std::optional<PointId>() : id;
}

class IdColumn final : public AttachedReader {
  public:
    IdColumn(std::unique_ptr<RowReader> rows, const std::filesystem::path& path)
        : AttachedReader(std::move(rows)), array_(path) {
        const std::uint64_t expected = required_rows(*this, "of ids");
        const NpyHeader& header = array_.header();
        if ((array_.kind() != 'i' && array_.kind() != 'u') ||
            array_.item_bytes() > sizeof(PointId)) {
            fail(
                ErrorKind::kUnsupported, "Ids are not integers of at most 64 bits but: \"",
                header.descr, "\" in ", path.string());
        }
        if (header.shape.size() != 1 || header.shape[0] != expected) {
            fail(
                ErrorKind::kInvalidArgument, "Array of ids is not one id a row: ", path.string(),
                " has ", header.shape.size(), " dimensions, the first of length ",
                header.shape.empty() ? 1 : header.shape[0], ", expected 1 of length ", expected);
        }
    }

  private:
    void attach(RowBatch& batch) override {
        const std::size_t bytes = array_.item_bytes();
        buffer_.resize(batch.size() * bytes);
        array_.read(buffer_);
        std::vector<std::optional<std::string>> reasons(batch.size());
        for (std::size_t i = 0; i < batch.size(); ++i) {
            batch.ids[i] = to_id(buffer_.data() + i * bytes, bytes, array_.kind() == 'i');
            if (!batch.ids[i]) {
                reasons[i] = "Id is negative";
            }
        }
        batch.reject(reasons);
    }

    NpyArray array_;
    std::vector<std::byte> buffer_;
};

} // namespace

std::uint64_t required_rows(const RowReader& rows, std::string_view second_file) {
    if (!rows.rows()) {
        fail(
            ErrorKind::kInvalidArgument, "A file ", second_file,
            " goes with formats that know their number of rows; here the lines themselves say it");
    }
    return *rows.rows();
}

std::unique_ptr<RowReader> attach_ids(
    std::unique_ptr<RowReader> reader, const std::filesystem::path& path) {
    return std::make_unique<IdColumn>(std::move(reader), path);
}

} // namespace arfc::tools
