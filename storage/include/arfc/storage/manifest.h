#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "arfc/base/metric.h"

namespace arfc::storage {

/// The format that this build writes. Format 0 may change until it is declared 1.
inline constexpr std::uint32_t kFormat = 0;

/// Says what a collection directory is; `manifest.json`, replaced atomically, checked by its own
/// SHA-256.
struct Manifest {
    std::uint32_t format = kFormat; ///< Readers refuse a larger one.
    std::string creator; ///< Program and version that created the directory, such as "arfc 0.1.0".
    std::size_t dim = 0;
    Metric metric = Metric::kCosine;
    std::string factory;   ///< Such as "ARFC96/16,IVF256".
    std::string model_id;  ///< Empty while there is none; setting it makes a training count.
    bool keep_raw = false; ///< Raw rows are kept beside the codes.
};

/// @throws Error  kNotFound: no manifest. kCorruption: not JSON, a field is missing or of the wrong
///                type, or the checksum differs. kUnsupported: a newer format than kFormat, or a
///                field that this build does not know.
[[nodiscard]] Manifest read_manifest(const std::filesystem::path& directory);

/// @throws Error  kIo, kResourceExhausted. kInvalidArgument: a text is not UTF-8.
void write_manifest(const std::filesystem::path& directory, const Manifest& manifest);

/// Holds a directory for one writer, through an flock on `LOCK`; released when destroyed or when
/// the process ends.
class WriterLock {
  public:
    /// @throws Error  kFailedPrecondition: another holder, in this process or another.
    ///                kNotFound: no such directory. kIo, kResourceExhausted.
    explicit WriterLock(const std::filesystem::path& directory);
    WriterLock(const WriterLock&) = delete;
    WriterLock& operator=(const WriterLock&) = delete;
    ~WriterLock();

  private:
    int descriptor_;
};

} // namespace arfc::storage
