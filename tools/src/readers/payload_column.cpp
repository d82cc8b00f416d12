#include <simdjson.h>

#include "arfc/base/error.h"
#include "readers/attached_reader.h"
#include "readers/line_reader.h"
#include "terminal/text.h"

namespace arfc::tools {
namespace {

/// Counts the lines of a file, so that a payload too few is known before the first row is stored.
std::uint64_t count_lines(const std::filesystem::path& path) {
    LineReader lines(path);
    (void)required_size(lines.file(), "payload");
    while (lines.next()) {
    }
    return lines.lines();
}

class PayloadColumn final : public AttachedReader {
  public:
    PayloadColumn(std::unique_ptr<RowReader> rows, const std::filesystem::path& path)
        : AttachedReader(std::move(rows)), lines_(path) {
        const std::uint64_t expected = required_rows(*this, "of payloads");
        const std::uint64_t found = count_lines(path);
        if (found != expected) {
            fail(
                ErrorKind::kInvalidArgument, "Payload file is not one line a row: ", path.string(),
                " has ", found, " lines, expected ", expected);
        }
    }

  private:
    void attach(RowBatch& batch) override {
        std::vector<std::optional<std::string>> reasons(batch.size());
        for (std::size_t i = 0; i < batch.size(); ++i) {
            std::optional<Line> line = lines_.next();
            // Rows that the reader, or the file of ids, rejected have their lines too.
            while (line && lines_.lines() <= batch.rows[i]) {
                line = lines_.next();
            }
            if (!line) {
                fail(
                    ErrorKind::kCorruption,
                    "Payload file was cut short meanwhile: ", lines_.file().path().string(),
                    ", lines there: ", lines_.lines());
            }
            reasons[i] = parse(*line, batch.payloads[i]);
        }
        batch.reject(reasons);
    }

    /// Reads a line as a payload. @returns why it is refused; nothing if it is not.
    std::optional<std::string> parse(const Line& line, std::string& payload) {
        payload.clear();
        if (line.too_long) {
            return text_of("Payload is longer than bytes: ", kMaxLineBytes);
        }
        if (line.blank()) {
            return {};
        }
        simdjson::dom::element root;
        const auto code = parser_.parse(line.text.data(), line.text.size(), false).get(root);
        if (code == simdjson::MEMALLOC) {
            throw std::bad_alloc();
        }
        if (code != simdjson::SUCCESS) {
            return text_of("Payload is not valid JSON: ", simdjson::error_message(code));
        }
        if (root.is_null()) {
            return {};
        }
        if (!root.is_object()) {
            return text_of("Payload is not a JSON object: \"", line.text.substr(0, 40), '"');
        }
        payload = simdjson::minify(root);
        if (payload.size() > kMaxPayloadBytes) {
            return text_of("Payload is longer than bytes: ", kMaxPayloadBytes);
        }
        return {};
    }

    LineReader lines_;
    simdjson::dom::parser parser_;
};

} // namespace

std::unique_ptr<RowReader> attach_payloads(
    std::unique_ptr<RowReader> reader, const std::filesystem::path& path) {
    return std::make_unique<PayloadColumn>(std::move(reader), path);
}

} // namespace arfc::tools
