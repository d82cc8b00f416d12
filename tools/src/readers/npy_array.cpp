#include "readers/npy_array.h"

#include <array>
#include <bit>
#include <charconv>

#include "arfc/base/error.h"

namespace arfc::tools {
namespace {

static_assert(std::endian::native == std::endian::little, "rows are read as they lie on disk");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::uint64_t kMaxHeaderBytes = 1U << 20U; // NumPy writes some hundred bytes.
constexpr std::size_t kMaxDimensions = 32;           // NumPy's own limit.

/// Reads Python literals of the kinds that a header holds, from the left to the right.
class LiteralParser {
  public:
    explicit LiteralParser(std::string_view text) : text_(text) {}

    /// Skips white space, then takes `token` if it is next.
    bool take(std::string_view token) {
        const std::size_t start = text_.find_first_not_of(" \t\r\n");
        text_.remove_prefix(std::min(start, text_.size()));
        if (!text_.starts_with(token)) {
            return false;
        }
        text_.remove_prefix(token.size());
        return true;
    }

    void require(std::string_view token) {
        if (!take(token)) {
            refuse();
        }
    }

    std::string string() {
        const char quote = take("'") ? '\'' : '"';
        if (quote == '"') {
            require("\"");
        }
        const std::size_t end = text_.find(quote);
        if (end == std::string_view::npos || text_.substr(0, end).find('\\') != std::string::npos) {
            refuse();
        }
        std::string value(text_.substr(0, end));
        text_.remove_prefix(end + 1);
        return value;
    }

    bool boolean() {
        if (take("True")) {
            return true;
        }
        require("False");
        return false;
    }

    std::vector<std::uint64_t> tuple() {
        std::vector<std::uint64_t> values;
        require("(");
        while (!take(")")) {
            std::uint64_t value = 0;
            take("");
            const auto [end, code] = std::from_chars(text_.begin(), text_.end(), value);
            if (code != std::errc() || values.size() == kMaxDimensions) {
                refuse();
            }
            text_.remove_prefix(static_cast<std::size_t>(end - text_.begin()));
            take("L"); // Python 2 wrote long integers so.
            values.push_back(value);
            if (!take(",")) {
                require(")");
                break;
            }
        }
        return values;
    }

    [[nodiscard]] bool at_end() {
        take("");
        return text_.empty();
    }

    [[noreturn]] void refuse() const {
        fail(
            ErrorKind::kCorruption, "Header of the .npy file is not what NumPy writes, at: \"",
            text_.substr(0, 40), "\"");
    }

  private:
    std::string_view text_;
};

std::uint64_t little_endian(std::span<const std::byte> bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) {
        value = value << 8U | static_cast<std::uint64_t>(bytes[i]);
    }
    return value;
}

NpyHeader read_header(InputFile& file) {
    std::array<std::byte, 8> start{};
    file.read_exactly(start, ".npy magic");
    const std::string_view magic(reinterpret_cast<const char*>(start.data()), kMagic.size());
    if (magic != kMagic) {
        fail(
            ErrorKind::kCorruption, "File does not start as .npy files do: ", file.path().string());
    }
    const int version = static_cast<int>(start[6]);
    if (version < 1 || version > 3 || start[7] != std::byte{0}) {
        fail(
            ErrorKind::kUnsupported,
            "Version of the .npy format is not one of 1.0, 2.0, 3.0: ", version, ".",
            static_cast<int>(start[7]), " in ", file.path().string());
    }
    std::array<std::byte, 4> length_bytes{};
    const std::span length_field = std::span(length_bytes).first(version == 1 ? 2 : 4);
    file.read_exactly(length_field, ".npy header length");
    const std::uint64_t length = little_endian(length_field);
    if (length > kMaxHeaderBytes) {
        fail(
            ErrorKind::kCorruption, "Header of the .npy file is too long: ", length,
            " bytes, at most ", kMaxHeaderBytes, " in ", file.path().string());
    }
    std::string text(length, '\0');
    file.read_exactly(std::as_writable_bytes(std::span(text)), ".npy header");
    return parse_npy_header(text);
}

/// Returns the bytes of one element, of a type such as "<f4" or "|u1".
std::size_t item_bytes_of(const std::string& descr, const std::filesystem::path& path) {
    std::size_t bytes = 0;
    const char* const end = descr.data() + descr.size();
    if (descr.size() < 3 || std::string_view("<>|=").find(descr[0]) == std::string_view::npos ||
        std::from_chars(descr.data() + 2, end, bytes).ptr != end || bytes == 0 || bytes > 4096) {
        fail(
            ErrorKind::kUnsupported, "Element type of the .npy file is not a plain number: \"",
            descr, "\" in ", path.string());
    }
    if (descr[0] == '>' && bytes > 1) {
        fail(
            ErrorKind::kUnsupported, "Array is big-endian, save it as little-endian: \"", descr,
            "\" in ", path.string());
    }
    return bytes;
}

void require_size(const NpyHeader& header, std::size_t item_bytes, const InputFile& file) {
    const std::uint64_t size = required_size(file, ".npy");
    std::uint64_t expected = item_bytes;
    bool overflow = false;
    bool empty = false;
    for (const std::uint64_t length : header.shape) {
        empty = empty || length == 0;
        overflow = __builtin_mul_overflow(expected, length, &expected) || overflow;
    }
    expected = empty ? 0 : expected;
    overflow = (overflow && !empty) || __builtin_add_overflow(expected, file.offset(), &expected);
    if (overflow || size != expected) {
        fail(
            ErrorKind::kCorruption,
            "Size of the .npy file is not what its header says: ", file.path().string(), " has ",
            size, " bytes, expected ", overflow ? "more than 2^64" : std::to_string(expected));
    }
}

} // namespace

NpyHeader parse_npy_header(std::string_view text) {
    LiteralParser parser(text);
    NpyHeader header;
    bool has_descr = false;
    bool has_order = false;
    bool has_shape = false;
    parser.require("{");
    while (!parser.take("}")) {
        const std::string key = parser.string();
        parser.require(":");
        if (key == "descr" && !has_descr) {
            if (parser.take("[")) {
                fail(ErrorKind::kUnsupported, "Array of the .npy file is a structured one");
            }
            header.descr = parser.string();
            has_descr = true;
        } else if (key == "fortran_order" && !has_order) {
            header.fortran_order = parser.boolean();
            has_order = true;
        } else if (key == "shape" && !has_shape) {
            header.shape = parser.tuple();
            has_shape = true;
        } else {
            fail(
                ErrorKind::kCorruption, "Header of the .npy file has a key twice or of its own: \"",
                key.substr(0, 40), "\"");
        }
        if (!parser.take(",")) {
            parser.require("}");
            break;
        }
    }
    if (!has_descr || !has_order || !has_shape || !parser.at_end()) {
        parser.refuse();
    }
    return header;
}

NpyArray::NpyArray(const std::filesystem::path& path)
    : file_(path), header_(read_header(file_)), item_bytes_(item_bytes_of(header_.descr, path)) {
    require_size(header_, item_bytes_, file_);
}

double NpyArray::fraction_read() const noexcept {
    const auto size = static_cast<double>(file_.size().value_or(1));
    return static_cast<double>(file_.offset()) / size;
}

} // namespace arfc::tools
