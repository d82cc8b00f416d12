#include "registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "arfc/base/files.h"

namespace arfc::server {

namespace {

constexpr std::size_t kLongestName = 255;
constexpr std::string_view kRemovedPrefix = ".removed-"; // No name begins with a dot.

bool is_collection_name(std::string_view name) {
    return !name.empty() && name.size() <= kLongestName &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
           });
}

[[noreturn]] void fail_unknown(std::string_view name) {
    fail(ErrorKind::kNotFound, "Collection does not exist: ", name);
}

void remove_tree(const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::remove_all(folder, error);
    if (error) {
        spdlog::warn(
            "Folder of a deleted collection cannot be removed: {} ({})", folder.string(),
            error.message());
    }
}

} // namespace

void check_collection_name(std::string_view name) {
    if (!is_collection_name(name)) {
        fail(
            ErrorKind::kInvalidArgument, "Collection name is not 1 to 255 of A-Z a-z 0-9 _ -: \"",
            name, "\"");
    }
}

Registry::Registry(std::filesystem::path directory) : directory_(std::move(directory)) {
    std::error_code error;
    std::filesystem::create_directories(directory_, error);
    if (error) {
        fail(
            ErrorKind::kIo, "Data directory cannot be made: ", directory_.string(), " (",
            error.message(), ")");
    }
    open_all();
}

Registry::~Registry() {
    close();
}

void Registry::open_all() {
    std::vector<std::filesystem::path> folders;
    try {
        for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
            if (entry.is_directory()) {
                folders.push_back(entry.path());
            }
        }
    } catch (const std::filesystem::filesystem_error& error) {
        fail(
            ErrorKind::kIo, "Data directory cannot be read: ", directory_.string(), " (",
            error.code().message(), ")");
    }
    std::sort(folders.begin(), folders.end());
    for (const std::filesystem::path& folder : folders) {
        const std::string name = folder.filename().string();
        if (name.starts_with(kRemovedPrefix)) {
            remove_tree(folder); // Deleted, and then the process ended.
        } else if (is_collection_name(name)) {
            open_one(folder);
        }
    }
}

void Registry::open_one(const std::filesystem::path& folder) {
    const std::string name = folder.filename().string();
    Entry entry;
    try {
        serve(entry, Collection::open(folder));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::kNotFound) {
            // Somebody's folder, not ours to serve and above all not ours to delete.
            spdlog::warn("Folder holds no collection and is left alone: {}", folder.string());
            return;
        }
        spdlog::error("Collection cannot be opened: {}: {}", name, error.what());
        entry.state = State::kDamaged;
        entry.damage = error;
    }
    entries_.emplace(name, std::move(entry));
}

void Registry::serve(Entry& entry, std::unique_ptr<Collection> collection) {
    const CollectionInfo info = collection->info();
    auto released = std::make_shared<std::promise<void>>();
    auto served = std::make_unique<ServedCollection>();
    served->collection = std::move(collection);
    served->dim = info.dim;
    served->metric = info.metric;
    entry.released = released->get_future();
    entry.served =
        std::shared_ptr<ServedCollection>(served.release(), [released](ServedCollection* last) {
            delete last; // Closes it; whoever waits may touch the folder from now on.
            released->set_value();
        });
    entry.state = State::kServed;
}

std::vector<std::string> Registry::names() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) {
        if (entry.state == State::kServed || entry.state == State::kDamaged) {
            names.push_back(name);
        }
    }
    return names;
}

std::shared_ptr<ServedCollection> Registry::find(std::string_view name) const {
    check_collection_name(name);
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found != entries_.end()) {
        switch (found->second.state) {
            case State::kServed: return found->second.served;
            case State::kDamaged: throw Error(*found->second.damage);
            case State::kCreating:
            case State::kDeleting: break;
        }
    }
    fail_unknown(name);
}

void Registry::create(std::string_view name, const CollectionOptions& options) {
    check_collection_name(name);
    const std::filesystem::path folder = directory_ / name;
    {
        const std::lock_guard lock(mutex_);
        if (!entries_.try_emplace(std::string(name)).second) {
            fail(ErrorKind::kAlreadyExists, "Collection exists: ", name);
        }
    }
    std::error_code ignored;
    const bool was_there = std::filesystem::exists(folder, ignored);
    Entry entry;
    try {
        serve(entry, Collection::create(folder, options));
    } catch (...) {
        entry = Entry();
        if (!was_there) {
            remove_tree(folder);
        }
        const std::lock_guard lock(mutex_);
        entries_.erase(entries_.find(name));
        throw;
    }
    const std::lock_guard lock(mutex_);
    entries_.find(name)->second = std::move(entry);
}

void Registry::remove(std::string_view name) {
    check_collection_name(name);
    std::shared_ptr<ServedCollection> served;
    std::future<void> released;
    {
        const std::lock_guard lock(mutex_);
        const auto found = entries_.find(name);
        if (found == entries_.end() || found->second.state == State::kCreating ||
            found->second.state == State::kDeleting) {
            fail_unknown(name);
        }
        Entry& entry = found->second;
        if (entry.damage && entry.damage->kind() == ErrorKind::kFailedPrecondition) {
            throw Error(*entry.damage); // Another process is at work in the folder.
        }
        entry.state = State::kDeleting;
        served = std::move(entry.served);
        released = std::move(entry.released);
    }
    if (served != nullptr) {
        served->closing = true;
        served.reset();
        released.wait();
    }
    remove_folder(name);
    const std::lock_guard lock(mutex_);
    entries_.erase(entries_.find(name));
}

void Registry::remove_folder(std::string_view name) {
    // The rename is what deletes; a crash after it leaves a folder that the next start sweeps away.
    std::error_code error;
    std::filesystem::path removed;
    do {
        removed = directory_ / (std::string(kRemovedPrefix) + std::to_string(removals_++));
    } while (std::filesystem::exists(removed, error));
    std::filesystem::rename(directory_ / name, removed, error);
    if (error == std::errc::no_such_file_or_directory) {
        return; // Somebody has removed it already.
    }
    if (error) {
        fail(
            ErrorKind::kIo, "Collection's folder cannot be removed: ", (directory_ / name).string(),
            " (", error.message(), ")");
    }
    sync_directory(directory_);
    remove_tree(removed);
}

void Registry::cancel_long_requests() noexcept {
    const std::lock_guard lock(mutex_);
    for (auto& [name, entry] : entries_) {
        if (entry.served != nullptr) {
            entry.served->closing = true;
        }
    }
}

void Registry::close() noexcept {
    const std::lock_guard lock(mutex_);
    for (auto& [name, entry] : entries_) {
        if (entry.served == nullptr) {
            continue;
        }
        try {
            entry.served->collection->close();
        } catch (const std::exception& error) {
            spdlog::error("Collection was not closed cleanly: {}: {}", name, error.what());
        }
    }
    entries_.clear();
}

} // namespace arfc::server
