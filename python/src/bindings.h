#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/base/matrix_view.h"
#include "arfc/base/progress.h"
#include "arfc/index/certainty.h"

// The native module is thin: it takes C-contiguous arrays of the right type in the caller's memory,
// lets the interpreter go while a room works, and fills arrays that the package allocated. What
// users pass is checked and converted by the package, in python/arfc/_arrays.py.
namespace arfc {
class Collection;
} // namespace arfc

namespace arfc::python {

namespace nb = nanobind;

template <class T>
using Matrix = nb::ndarray<T, nb::numpy, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class T>
using Vector = nb::ndarray<T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

/// Views an array's memory; the array must outlive the view.
template <class T>
[[nodiscard]] MatrixView<T> view(const Matrix<T>& array) noexcept {
    return {array.data(), array.shape(0), array.shape(1)};
}

[[nodiscard]] inline MatrixView<const std::byte> bytes(
    const Matrix<const std::uint8_t>& array) noexcept {
    return {reinterpret_cast<const std::byte*>(array.data()), array.shape(0), array.shape(1)};
}

[[nodiscard]] inline MatrixView<std::byte> bytes(const Matrix<std::uint8_t>& array) noexcept {
    return {reinterpret_cast<std::byte*>(array.data()), array.shape(0), array.shape(1)};
}

/// Moves elements into a NumPy array that owns them. Needs the interpreter's lock.
/// @param shape  Its product is `elements.size()`.
template <class T>
[[nodiscard]] nb::object owned_array(
    std::vector<T> elements, std::initializer_list<std::size_t> shape) {
    auto* kept = new std::vector<T>(std::move(elements));
    const nb::capsule owner(
        kept, [](void* held) noexcept { delete static_cast<std::vector<T>*>(held); });
    return nb::cast(nb::ndarray<nb::numpy, T>(kept->data(), shape, owner));
}

/// What python/arfc/_arrays.py makes of `until` and its budget: (confidence, bytes), or None.
using UntilPair = std::optional<std::pair<std::optional<double>, std::optional<std::size_t>>>;

[[nodiscard]] inline std::optional<Until> to_until(const UntilPair& until) {
    return until ? std::optional(Until{.confidence = until->first, .max_bytes = until->second})
                 : std::nullopt;
}

/// Returns the words for what answers are sure of. Needs the interpreter's lock.
[[nodiscard]] inline nb::list names(const std::vector<Certainty>& certainty) {
    nb::list words;
    for (const Certainty one : certainty) {
        const std::string_view word = to_string(one);
        words.append(nb::str(word.data(), word.size()));
    }
    return words;
}

/// Returns a progress function that lets Ctrl-C through and then calls `callback(stage, done,
/// total, error, held_out_recall, seconds_left) -> bool`, or None. Raised exceptions pass through
/// the room unchanged. Keep `callback` alive while the function is used.
[[nodiscard]] ProgressFunction progress_function(const nb::object& callback);

/// Makes arfc::Error leave the module as the class of `arfc.errors` for its kind.
void register_errors(nb::module_& module);

void bind_compressor(nb::module_& module);
void bind_collection(nb::module_& module);
void bind_index(nb::module_& module);
void bind_plan(nb::module_& module);

/// Collection.plan: the fields of `arfc.Plan`, in their order.
[[nodiscard]] nb::tuple plan_collection(
    const Collection& collection, double target_recall, std::size_t k,
    std::optional<double> most_bytes_per_row, std::optional<std::size_t> rows, std::uint64_t seed,
    const nb::object& progress);

} // namespace arfc::python
