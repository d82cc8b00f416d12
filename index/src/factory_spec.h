#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace arfc {

/// How ids are kept around an index.
enum class IdMap : std::uint8_t {
    kNone = 0,
    kIdMap = 1,  ///< "IDMap,...": ids by position.
    kIdMap2 = 2, ///< "IDMap2,...": and positions by id.
};

/// What an ARFC factory string says; docs/factory_strings.md gives the grammar.
struct FactorySpec {
    IdMap id_map = IdMap::kNone;
    std::vector<std::size_t> stage_bytes; ///< Ascending prefix lengths; the last is the code's.
    bool error_radii = false;             ///< "_R": keep what proofs need.
    std::size_t nlist = 0;                ///< IVF lists; 0: none.
    std::string coarse;                   ///< Coarse structure, as its kind writes it; empty: none.

    [[nodiscard]] std::size_t code_bytes() const noexcept { return stage_bytes.back(); }
};

/// Says whether a component of the string is an ARFC one; others are FAISS's business.
[[nodiscard]] bool names_arfc(std::string_view description) noexcept;

/// Reads an ARFC factory string.
/// @param dim     Embedding width: a ratio is of 4 * dim bytes.
/// @throws Error  kInvalidArgument: syntax or a size out of range, with the column. kUnsupported: a
///                part that the grammar names and this version does not build.
[[nodiscard]] FactorySpec parse_factory(std::size_t dim, std::string_view description);

/// Writes the spec as its canonical string, sizes in bytes: "IDMap2,ARFC96/16,IVF256".
[[nodiscard]] std::string to_string(const FactorySpec& spec);

} // namespace arfc
