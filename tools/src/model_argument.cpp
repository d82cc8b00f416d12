#include "model_argument.h"

#include <algorithm>
#include <string_view>
#include <system_error>
#include <vector>

#include "arfc/base/error.h"

namespace arfc::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReady = "ready:";

/// Returns the folders of ready models of a program that are there.
std::vector<fs::path> model_folders(const fs::path& program) {
    const fs::path prefix = program.parent_path().parent_path();
    std::vector<fs::path> folders = {prefix / "share" / "arfc" / "models"};
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(prefix / "lib", ignored)) {
        if (entry.path().filename().string().starts_with("python3")) {
            folders.push_back(entry.path() / "site-packages" / "arfc" / "models");
        }
    }
    std::sort(folders.begin() + 1, folders.end());
    std::erase_if(folders, [&](const fs::path& path) { return !fs::is_directory(path, ignored); });
    return folders;
}

/// Returns the model directories of a folder.
std::vector<fs::path> models_in(const fs::path& folder) {
    std::vector<fs::path> models;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
        if (fs::exists(entry.path() / "config.json", ignored)) {
            models.push_back(entry.path());
        }
    }
    std::sort(models.begin(), models.end());
    return models;
}

} // namespace

fs::path model_directory(const std::string& argument, const fs::path& program) {
    if (!argument.starts_with(kReady)) {
        return argument;
    }
    const std::string name = argument.substr(kReady.size());
    std::string names;
    for (const fs::path& folder : model_folders(program)) {
        for (const fs::path& model : models_in(folder)) {
            if (model.filename() == name) {
                return model;
            }
            names += (names.empty() ? "" : ", ") + model.filename().string();
        }
    }
    fail(
        ErrorKind::kNotFound, "No ready model of this name comes with arfc: \"", name, "\", ",
        names.empty() ? "none is installed beside " + program.string() : "there is: " + names);
}

fs::path model_directory(const std::string& argument) {
    std::error_code code;
    return model_directory(argument, fs::read_symlink("/proc/self/exe", code));
}

} // namespace arfc::tools
