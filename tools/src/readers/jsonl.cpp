#include <simdjson.h>

#include <algorithm>
#include <iterator>

#include "arfc/base/error.h"
#include "readers/line_reader.h"
#include "readers/row_reader.h"
#include "terminal/text.h"

namespace arfc::tools {
namespace {

using simdjson::dom::element;

constexpr std::size_t kMaxRowsBeforeTheFirstGoodOne = 1000;
constexpr std::size_t kMaxBatchBytes = std::size_t{64} << 20U; // Text of one batch.
constexpr std::size_t kQuotedBytes = 40; // Of a foreign text that a message repeats.

std::string in_quotes(std::string_view text) {
    return text_of('"', text.substr(0, kQuotedBytes), '"');
}

/// What a line says; a field that it lacks is empty.
struct ParsedRow {
    std::vector<float> vector;
    std::optional<PointId> id;
    std::string payload;
    std::vector<std::string_view> fields; ///< Keys seen; valid during the line only.
};

// Each of these returns why the row is refused, "" if it is not.

std::string read_vector(const element& value, std::vector<float>& vector) {
    simdjson::dom::array numbers;
    if (value.get(numbers) != simdjson::SUCCESS) {
        return "Field \"vector\" is not an array";
    }
    for (const element number : numbers) {
        double real = 0;
        if (number.get(real) != simdjson::SUCCESS) {
            return text_of(
                "Vector holds something that is not a number, at position: ", vector.size());
        }
        vector.push_back(static_cast<float>(real));
    }
    return "";
}

std::string read_id(const element& value, std::optional<PointId>& id) {
    PointId number = 0;
    if (value.get(number) != simdjson::SUCCESS) {
        return text_of(
            "Id is not an integer of 0 to 2^64 - 1: ", in_quotes(simdjson::minify(value)));
    }
    id = number;
    return "";
}

std::string read_payload(const element& value, std::string& payload) {
    if (value.is_null()) {
        return "";
    }
    if (!value.is_object()) {
        return text_of("Payload is not a JSON object: ", in_quotes(simdjson::minify(value)));
    }
    payload = simdjson::minify(value);
    if (payload.size() > kMaxPayloadBytes) {
        return text_of("Payload is longer than bytes: ", kMaxPayloadBytes);
    }
    return "";
}

std::string read_field(std::string_view key, const element& value, ParsedRow& row) {
    if (std::ranges::find(row.fields, key) != row.fields.end()) {
        return text_of("Field occurs twice: ", in_quotes(key));
    }
    row.fields.push_back(key);
    if (key == "vector") {
        return read_vector(value, row.vector);
    }
    if (key == "id") {
        return read_id(value, row.id);
    }
    if (key == "payload") {
        return read_payload(value, row.payload);
    }
    return text_of("Field is not one of id, vector, payload: ", in_quotes(key));
}

class JsonlReader final : public RowReader {
  public:
    JsonlReader(const std::filesystem::path& path, std::optional<std::size_t> dim) : lines_(path) {
        if (dim) {
            readers::require_dim(*dim, dim, path);
            dim_ = *dim;
            return;
        }
        while (pending_.size() == 0 && pending_.rejected.size() < kMaxRowsBeforeTheFirstGoodOne &&
               read_row(pending_)) {
        }
        if (dim_ == 0) {
            const std::vector<RejectedRow>& rejected = pending_.rejected;
            fail(
                ErrorKind::kInvalidArgument, "No row tells the width of the embeddings in ",
                path.string(), ", rows refused: ", rejected.size(),
                rejected.empty() ? "" : ", the first: " + rejected.front().reason);
        }
    }

    [[nodiscard]] std::size_t dim() const noexcept override { return dim_; }
    [[nodiscard]] std::optional<std::uint64_t> rows() const noexcept override { return {}; }
    [[nodiscard]] std::optional<double> fraction_read() const noexcept override {
        const InputFile& file = lines_.file();
        if (!file.size() || *file.size() == 0) {
            return {};
        }
        const double fraction =
            static_cast<double>(file.offset()) / static_cast<double>(*file.size());
        return std::min(fraction, 1.0); // A file that grows meanwhile.
    }

    [[nodiscard]] bool next(std::size_t max_rows, RowBatch& batch) override {
        batch.clear();
        deliver_pending(max_rows, batch);
        batch.dim = dim_;
        const std::uint64_t start = lines_.bytes();
        while (batch.size() + batch.rejected.size() < max_rows &&
               lines_.bytes() - start < kMaxBatchBytes && read_row(batch)) {
        }
        return batch.size() + batch.rejected.size() > 0;
    }

  private:
    /// Moves rows that were read to learn the width: rejected ones, then the one good one.
    void deliver_pending(std::size_t max_rows, RowBatch& batch) {
        std::vector<RejectedRow>& rejected = pending_.rejected;
        const auto count = static_cast<std::ptrdiff_t>(std::min(max_rows, rejected.size()));
        std::vector<RejectedRow> delivered(
            std::make_move_iterator(rejected.begin()),
            std::make_move_iterator(rejected.begin() + count));
        rejected.erase(rejected.begin(), rejected.begin() + count);
        if (delivered.size() < max_rows) {
            std::swap(batch, pending_);
        }
        batch.rejected = std::move(delivered);
    }

    /// Reads a row into the batch, good or rejected. @returns whether there was one.
    bool read_row(RowBatch& batch) {
        std::optional<Line> line = lines_.next();
        while (line && line->blank()) {
            line = lines_.next();
        }
        if (!line) {
            return false;
        }
        row_ = {};
        const std::string reason = parse(*line);
        if (reason.empty()) {
            dim_ = row_.vector.size();
            batch.dim = dim_;
            batch.embeddings.insert(batch.embeddings.end(), row_.vector.begin(), row_.vector.end());
            batch.rows.push_back(next_row_);
            batch.lines.push_back(lines_.lines());
            batch.ids.push_back(row_.id);
            batch.payloads.push_back(std::move(row_.payload));
        } else {
            batch.rejected.push_back({.row = next_row_, .line = lines_.lines(), .reason = reason});
        }
        ++next_row_;
        return true;
    }

    /// Reads a line into `row_`. @returns why it is refused; "" if it is not.
    std::string parse(const Line& line) {
        if (line.too_long) {
            return text_of("Line is longer than bytes: ", kMaxLineBytes);
        }
        element root;
        // The padding that the parser reads over is there, so the line need not be copied.
        const auto code = parser_.parse(line.text.data(), line.text.size(), false).get(root);
        if (code == simdjson::MEMALLOC) {
            throw std::bad_alloc();
        }
        if (code != simdjson::SUCCESS) {
            return text_of("Line is not valid JSON: ", simdjson::error_message(code));
        }
        simdjson::dom::object fields;
        if (root.get(fields) != simdjson::SUCCESS) {
            return text_of("Line is not a JSON object: ", in_quotes(line.text));
        }
        for (const auto& [key, value] : fields) {
            if (std::string reason = read_field(key, value, row_); !reason.empty()) {
                return reason;
            }
        }
        return check_width();
    }

    [[nodiscard]] std::string check_width() const {
        const std::size_t width = row_.vector.size();
        if (width == 0) {
            return "Row has no \"vector\", or an empty one";
        }
        if (width > kMaxDim) {
            return text_of("Embedding width is out of range: ", width, ", expected 1 to ", kMaxDim);
        }
        if (dim_ != 0 && width != dim_) {
            return text_of(
                "Embedding width differs from the one wanted: ", width, ", expected ", dim_);
        }
        return "";
    }

    LineReader lines_;
    simdjson::dom::parser parser_;
    std::size_t dim_ = 0; // 0 until a row told it.
    std::uint64_t next_row_ = 0;
    RowBatch pending_;
    ParsedRow row_;
};

static_assert(LineReader::kPadding >= simdjson::SIMDJSON_PADDING);

} // namespace

std::unique_ptr<RowReader> readers::open_jsonl(
    const std::filesystem::path& path, std::optional<std::size_t> dim) {
    return std::make_unique<JsonlReader>(path, dim);
}

} // namespace arfc::tools
