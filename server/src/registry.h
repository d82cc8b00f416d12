#pragma once

#include <atomic>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arfc/base/error.h"
#include "arfc/index/collection.h"

namespace arfc::server {

/// A collection that is being served, and what requests ask of it all the time.
struct ServedCollection {
    std::unique_ptr<Collection> collection;
    std::size_t dim = 0;
    Metric metric = Metric::kCosine;
    std::atomic<bool> closing = false; ///< Somebody waits for the running requests to end: long
                                       ///< ones should.
    std::atomic<int> trainings = 0;    ///< Trainings that are running.
};

/// The collections of a data directory, one folder each, by name. Thread-safe.
class Registry {
  public:
    /// Opens every collection of the directory, which is created if it is missing. One that cannot
    /// be opened is logged and keeps its name and its error. Folders that are no collections are
    /// left alone.
    /// @throws Error  kIo: the directory cannot be made or read.
    explicit Registry(std::filesystem::path directory);
    Registry(const Registry&) = delete;
    Registry& operator=(const Registry&) = delete;
    ~Registry(); ///< As close().

    /// Returns the names, sorted; damaged collections are among them.
    [[nodiscard]] std::vector<std::string> names() const;

    /// Returns a collection, to be held while a request works on it.
    /// @throws Error  kInvalidArgument: not a name. kNotFound: none has it. What opening it said,
    /// if that failed.
    [[nodiscard]] std::shared_ptr<ServedCollection> find(std::string_view name) const;

    /// @throws Error  kInvalidArgument: not a name. kAlreadyExists. What Collection::create()
    /// throws.
    void create(std::string_view name, const CollectionOptions& options);

    /// Takes the name away at once, waits for the requests that hold the collection, and removes
    /// its folder. Trainings are cancelled. Survives a crash: the folder is whole or gone after the
    /// next start.
    /// @throws Error  kInvalidArgument: not a name. kNotFound: none has it. kIo: its folder cannot
    /// be renamed; it is
    ///                then out of service until the next start.
    void remove(std::string_view name);

    /// Asks long requests to end.
    void cancel_long_requests() noexcept;

    /// Closes every collection, once the requests that hold it have ended. Nothing may be called
    /// afterwards.
    void close() noexcept;

  private:
    enum class State { kCreating, kServed, kDamaged, kDeleting };
    struct Entry {
        State state = State::kCreating;
        std::shared_ptr<ServedCollection> served; ///< Where kServed.
        std::future<void> released;  ///< Ready when the last holder of `served` has let go.
        std::optional<Error> damage; ///< Where kDamaged.
    };

    static void serve(Entry& entry, std::unique_ptr<Collection> collection);
    void open_all();
    void open_one(const std::filesystem::path& folder);
    void remove_folder(std::string_view name);

    const std::filesystem::path directory_;
    mutable std::mutex mutex_;
    std::map<std::string, Entry, std::less<>> entries_;
    std::atomic<std::uint64_t> removals_ = 0; ///< Names the folders on their way out.
};

/// @throws Error  kInvalidArgument: not 1 to 255 of A-Z a-z 0-9 _ -.
void check_collection_name(std::string_view name);

} // namespace arfc::server
