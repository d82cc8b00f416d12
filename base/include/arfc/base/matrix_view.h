#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

namespace arfc {

/// Refers to a row-major matrix that somebody else owns: `rows()` rows of `cols()` adjacent
/// elements.
///
/// Rows follow each other without gaps, so `data()` spans `rows() * cols()` elements. Copying a
/// view copies no element. Thread-safe as its elements are.
template <class T>
class MatrixView {
  public:
    constexpr MatrixView() noexcept = default;
    constexpr MatrixView(T* data, std::size_t rows, std::size_t cols) noexcept
        : data_(data), rows_(rows), cols_(cols) {}

    /// Lets a view of mutable elements serve where const ones are asked for.
    template <class U>
    requires std::is_same_v<T, const U>
    // NOLINTNEXTLINE(google-explicit-constructor): as std::span
    constexpr MatrixView(MatrixView<U> other) noexcept
        : data_(other.data()), rows_(other.rows()), cols_(other.cols()) {}

    [[nodiscard]] constexpr T* data() const noexcept { return data_; }
    [[nodiscard]] constexpr std::size_t rows() const noexcept { return rows_; }
    [[nodiscard]] constexpr std::size_t cols() const noexcept { return cols_; }
    [[nodiscard]] constexpr std::size_t size() const noexcept { return rows_ * cols_; }
    [[nodiscard]] constexpr bool empty() const noexcept { return rows_ == 0; }

    /// Returns row `i`, in [0, rows()).
    [[nodiscard]] constexpr std::span<T> row(std::size_t i) const noexcept {
        return {data_ + i * cols_, cols_};
    }

    /// Returns rows [first, first + count).
    [[nodiscard]] constexpr MatrixView slice(std::size_t first, std::size_t count) const noexcept {
        return {data_ + first * cols_, count, cols_};
    }

  private:
    T* data_ = nullptr;
    std::size_t rows_ = 0;
    std::size_t cols_ = 0;
};

} // namespace arfc
