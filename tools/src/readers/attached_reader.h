#pragma once

#include <memory>
#include <utility>

#include "readers/row_reader.h"

namespace arfc::tools {

/// A reader that takes rows from another one and adds to them from a second file.
class AttachedReader : public RowReader {
  public:
    explicit AttachedReader(std::unique_ptr<RowReader> rows) : rows_(std::move(rows)) {}

    [[nodiscard]] std::size_t dim() const noexcept final { return rows_->dim(); }
    [[nodiscard]] std::optional<std::uint64_t> rows() const noexcept final { return rows_->rows(); }
    [[nodiscard]] std::optional<double> fraction_read() const noexcept final {
        return rows_->fraction_read();
    }

    [[nodiscard]] bool next(std::size_t max_rows, RowBatch& batch) final {
        if (!rows_->next(max_rows, batch)) {
            return false;
        }
        attach(batch);
        return true;
    }

  protected:
    /// Adds to the rows; what the second file says wrong of one rejects it.
    virtual void attach(RowBatch& batch) = 0;

  private:
    std::unique_ptr<RowReader> rows_;
};

/// Returns the number of rows that a second file is held against.
/// @throws Error  kInvalidArgument: the reader does not know it.
[[nodiscard]] std::uint64_t required_rows(const RowReader& rows, std::string_view second_file);

} // namespace arfc::tools
