#pragma once

#include <unistd.h>

#include <filesystem>
#include <stdexcept>

namespace arfc::storage::test {

/// Makes a directory read-only, for root too: takes the write permission away, and the effective
/// user where that one would not mind. Undone when it goes out of scope.
class Unprivileged {
  public:
    explicit Unprivileged(const std::filesystem::path& directory) : directory_(directory) {
        namespace fs = std::filesystem;
        fs::permissions(
            directory_, fs::perms::owner_read | fs::perms::owner_exec | fs::perms::group_read |
                            fs::perms::group_exec | fs::perms::others_read |
                            fs::perms::others_exec);
        constexpr ::uid_t kNobody = 65534;
        if (user_ == 0 && ::seteuid(kNobody) != 0) {
            throw std::runtime_error("seteuid failed");
        }
    }
    Unprivileged(const Unprivileged&) = delete;
    Unprivileged& operator=(const Unprivileged&) = delete;
    ~Unprivileged() {
        if (user_ == 0 && ::seteuid(0) != 0) {
            ::_exit(97);
        }
        std::error_code ignored;
        std::filesystem::permissions(directory_, std::filesystem::perms::owner_all, ignored);
    }

  private:
    std::filesystem::path directory_;
    ::uid_t user_ = ::geteuid();
};

} // namespace arfc::storage::test
