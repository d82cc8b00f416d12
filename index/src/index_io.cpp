#include "arfc/index/index_io.h"

#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <string>
#include <utility>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/base/files.h"
#include "arfc/base/sha256.h"
#include "arfc/index/arfc_index.h"
#include "byte_io.h"
#include "factory_spec.h"
#include "faiss_errors.h"
#include "id_map_index.h"
#include "transformed_index.h"
#include "wrappers.h"

namespace arfc {

// An ARFC index file: magic (8), format (u32), IdMap and whether there are transforms (u8), ids
// behind an IdMap (count u64, i64 each), transforms (TransformedIndex::write_transforms), the index
// (ArfcIndex::write), SHA-256 of all that precedes as 64 hexadecimal digits.
// Numbers are little-endian.
class IndexFile {
  public:
    static bool is_one(std::string_view bytes) noexcept { return bytes.starts_with(kMagic); }

    /// @param inner  What is behind the id map: an ArfcIndex, or transforms and then one.
    static std::string write(
        const faiss::Index& inner, IdMap id_map, const std::vector<std::int64_t>& ids) {
        const auto* const transformed = dynamic_cast<const TransformedIndex*>(&inner);
        ByteWriter out;
        out.array(std::span<const char>(kMagic));
        out.number(kFormat);
        const unsigned flag = transformed == nullptr ? 0U : kHasTransforms;
        out.number(static_cast<std::uint8_t>(static_cast<unsigned>(id_map) | flag));
        out.number(static_cast<std::uint64_t>(ids.size()));
        out.array(std::span<const std::int64_t>(ids));
        if (transformed != nullptr) {
            transformed->write_transforms(out);
        }
        arfc_behind(inner)->write(out);
        const std::string digest = sha256_hex(out.bytes());
        out.array(std::span<const char>(digest));
        return std::move(out).take();
    }

    static std::unique_ptr<faiss::Index> read(std::string_view bytes) {
        if (bytes.size() < kMagic.size() + sizeof(kFormat) + kDigestSize) {
            fail(ErrorKind::kCorruption, "Index file is too short, in bytes: ", bytes.size());
        }
        const std::string_view body = bytes.substr(0, bytes.size() - kDigestSize);
        ByteReader in(body, "Index file");
        (void)in.array<char>(kMagic.size());
        if (const auto format = in.number<std::uint32_t>(); format > kFormat) {
            fail(
                ErrorKind::kUnsupported, "Index file is of a newer format: ", format,
                ", this version reads up to ", kFormat);
        }
        if (sha256_hex(body) != bytes.substr(body.size())) {
            fail(
                ErrorKind::kCorruption,
                "Index file differs from its checksum; bytes: ", bytes.size());
        }
        const auto wrappers = in.number<std::uint8_t>();
        const auto id_map = static_cast<std::uint8_t>(wrappers & ~kHasTransforms);
        in.require(
            id_map <= static_cast<std::uint8_t>(IdMap::kIdMap2), "kind of id map ",
            static_cast<int>(id_map));
        std::vector<std::int64_t> ids = in.array<std::int64_t>(in.number<std::uint64_t>());
        std::unique_ptr<faiss::Index> index = read_inner(in, (wrappers & kHasTransforms) != 0);
        in.finish();
        const bool has_map = id_map != static_cast<std::uint8_t>(IdMap::kNone);
        in.require(
            ids.size() == (has_map ? static_cast<std::size_t>(index->ntotal) : 0), ids.size(),
            " ids of ", index->ntotal, " rows");
        switch (static_cast<IdMap>(id_map)) {
            case IdMap::kNone: return index;
            case IdMap::kIdMap:
                return std::make_unique<IdMapIndex>(std::move(index), std::move(ids));
            case IdMap::kIdMap2:
                return std::make_unique<IdMap2Index>(std::move(index), std::move(ids));
        }
        return index;
    }

  private:
    static std::unique_ptr<faiss::Index> read_inner(ByteReader& in, bool has_transforms) {
        if (!has_transforms) {
            return ArfcIndex::read(in);
        }
        auto [chain, transforms] = TransformedIndex::read_transforms(in);
        std::unique_ptr<ArfcIndex> index = ArfcIndex::read(in);
        in.require(
            index->d == chain.back()->d_out, "transforms give rows of ", chain.back()->d_out,
            " floats, the index takes ", index->d);
        return std::make_unique<TransformedIndex>(
            std::move(transforms), std::move(chain), std::move(index));
    }

    static constexpr unsigned kHasTransforms = 16;
    static constexpr std::string_view kMagic = "ARFCINDX";
    static constexpr std::uint32_t kFormat = 0;
    static constexpr std::size_t kDigestSize = 64;
};

namespace {

std::string faiss_bytes(const faiss::Index& index) {
    return translate_faiss(ErrorKind::kUnsupported, "FAISS cannot write this index", [&] {
        faiss::VectorIOWriter writer;
        faiss::write_index(&index, &writer);
        return std::string(reinterpret_cast<const char*>(writer.data.data()), writer.data.size());
    });
}

/// FAISS reads its own id maps; ours, which take parameters, stand in for them.
std::unique_ptr<faiss::Index> with_our_id_map(std::unique_ptr<faiss::Index> index) {
    auto* const map = dynamic_cast<faiss::IndexIDMap*>(index.get());
    if (map == nullptr || map->index == nullptr) {
        return index;
    }
    const bool finds_by_id = dynamic_cast<faiss::IndexIDMap2*>(map) != nullptr;
    std::vector<std::int64_t> ids(map->id_map.begin(), map->id_map.end());
    std::unique_ptr<faiss::Index> inner(std::exchange(map->index, nullptr));
    if (ids.size() != static_cast<std::size_t>(inner->ntotal)) {
        fail(
            ErrorKind::kCorruption,
            "Index file has ids that differ in number from its rows: ", ids.size(), ", expected ",
            inner->ntotal);
    }
    if (finds_by_id) {
        return std::make_unique<IdMap2Index>(std::move(inner), std::move(ids));
    }
    return std::make_unique<IdMapIndex>(std::move(inner), std::move(ids));
}

std::unique_ptr<faiss::Index> read_faiss(const std::string& bytes) {
    return translate_faiss(
        ErrorKind::kCorruption, "Index file is neither ARFC's nor one that FAISS reads", [&] {
            faiss::VectorIOReader reader;
            reader.data.assign(bytes.begin(), bytes.end());
            return with_our_id_map(std::unique_ptr<faiss::Index>(faiss::read_index(&reader)));
        });
}

} // namespace

void write_index(const faiss::Index& index, const std::filesystem::path& path) {
    const auto is_ours = [](const faiss::Index& inner) {
        return dynamic_cast<const ArfcIndex*>(&inner) != nullptr ||
               (dynamic_cast<const TransformedIndex*>(&inner) != nullptr &&
                arfc_behind(inner) != nullptr);
    };
    if (is_ours(index)) {
        write_file_atomically(path, IndexFile::write(index, IdMap::kNone, {}));
        return;
    }
    const auto* const map = dynamic_cast<const faiss::IndexIDMap*>(&index);
    if (map == nullptr || !is_ours(*map->index)) {
        write_file_atomically(path, faiss_bytes(index));
        return;
    }
    const IdMap id_map =
        dynamic_cast<const faiss::IndexIDMap2*>(map) != nullptr ? IdMap::kIdMap2 : IdMap::kIdMap;
    write_file_atomically(
        path, IndexFile::write(*map->index, id_map, {map->id_map.begin(), map->id_map.end()}));
}

std::unique_ptr<faiss::Index> read_index(const std::filesystem::path& path) {
    const std::string bytes = read_file(path);
    return IndexFile::is_one(bytes) ? IndexFile::read(bytes) : read_faiss(bytes);
}

} // namespace arfc
