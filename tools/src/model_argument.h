#pragma once

#include <filesystem>
#include <string>

namespace arfc::tools {

/// What an option that takes a model says of itself.
inline constexpr const char* kModelArgument =
    "Model directory, or ready:NAME for one that comes with arfc";

/// Returns the directory that a model argument means: the argument itself, or, of "ready:NAME",
/// that of the model that came with this program. Such models lie in share/arfc/models beside the
/// program's bin, or in the Python package that it was installed with.
/// @throws Error  kNotFound: no model of that name came with it; the message lists those that did.
[[nodiscard]] std::filesystem::path model_directory(const std::string& argument);

/// Does the same for a program that lies elsewhere. @param program  Path of the executable.
[[nodiscard]] std::filesystem::path model_directory(
    const std::string& argument, const std::filesystem::path& program);

} // namespace arfc::tools
