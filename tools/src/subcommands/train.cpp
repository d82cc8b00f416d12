#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"
#include "count_option.h"
#include "ingest/row_check.h"
#include "ingest/row_sample.h"
#include "readers/row_reader.h"
#include "subcommand.h"
#include "subcommands/model_report.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kBatchRows = 4096;
constexpr std::size_t kBatchBytes = std::size_t{16} << 20U; // Wide rows come in smaller batches.

// What training holds at most, as its peaks show (docs/cli.md has some).
constexpr std::uint64_t kFixedBytes = std::uint64_t{512} << 20U; // The program and its libraries.
constexpr std::uint64_t kHeldCopies = 5;            // Of a row: as read, as turned, and on the way.
constexpr std::uint64_t kClusteredCopies = 10;      // Of it while its five residuals are clustered,
constexpr std::uint64_t kMaxClustered = 2 * 262144; // which takes no more rows than these.

struct TrainArguments {
    std::string input;
    std::string format = "auto";
    std::string output;
    std::string metric = "cosine";
    std::size_t sample = kMaxTrainingRows;
    std::string max_memory;   // Empty: no limit.
    std::size_t threads = 0;  // 0: as many as there are cores.
    std::string queries;      // Empty: none.
    std::string pair_queries; // Empty: no pairs.
    std::string pair_rows;
    TrainOptions options;
};

/// The directory that the model goes to, made before the work and taken back if nothing came of it.
class OutputDirectory {
  public:
    explicit OutputDirectory(std::filesystem::path path) : path_(std::move(path)) {
        std::error_code code;
        created_ = std::filesystem::create_directories(path_, code);
        if (code || ::access(path_.c_str(), W_OK | X_OK) != 0) {
            fail(
                ErrorKind::kIo, "Model directory cannot be written: ", path_.string(), " (",
                code ? code.message() : std::strerror(errno), ")");
        }
        if (!is_ours()) {
            fail(
                ErrorKind::kAlreadyExists,
                "Directory holds something that is no model: ", path_.string());
        }
    }
    OutputDirectory(const OutputDirectory&) = delete;
    OutputDirectory& operator=(const OutputDirectory&) = delete;
    ~OutputDirectory() {
        std::error_code ignored;
        if (created_ && std::filesystem::is_empty(path_, ignored)) {
            std::filesystem::remove(path_, ignored);
        }
    }

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

    /// Returns where a training that is under way keeps what it has learned.
    [[nodiscard]] std::filesystem::path checkpoint() const { return path_ / "checkpoint"; }

  private:
    /// A model, a checkpoint on the way to one (even its first, not yet whole), or nothing.
    [[nodiscard]] bool is_ours() const {
        const std::filesystem::directory_iterator entries(path_);
        return std::filesystem::exists(path_ / "config.json") ||
               std::all_of(begin(entries), end(entries), [this](const auto& entry) {
                   return entry.path() == checkpoint();
               });
    }

    std::filesystem::path path_;
    bool created_ = false;
};

/// A sample of the rows that a model can be trained on, and what became of the others.
struct TrainingRows {
    RowSample sample;
    std::uint64_t rejected = 0;

    [[nodiscard]] std::uint64_t read() const noexcept { return sample.rows_offered() + rejected; }
};

/// Returns how many rows of a width training can hold. It does not ask what is resident now, so
/// that a training that resumes takes the same sample.
/// @throws Error  kResourceExhausted: not one.
std::size_t affordable_rows(std::size_t dim, std::uint64_t max_memory) {
    const std::uint64_t row_bytes = dim * sizeof(float);
    const std::uint64_t least = kFixedBytes + (kHeldCopies + kClusteredCopies) * row_bytes;
    if (max_memory < least) {
        fail(
            ErrorKind::kResourceExhausted,
            "Training takes more than --max-memory for a single row: ", readable_bytes(least),
            ", at most ", readable_bytes(max_memory));
    }
    const std::uint64_t copies = (max_memory - kFixedBytes) / row_bytes;
    const std::uint64_t few = copies / (kHeldCopies + kClusteredCopies);
    const std::uint64_t many = (copies - std::min(copies, kMaxClustered)) / kHeldCopies;
    return static_cast<std::size_t>(std::max(few, many));
}

TrainingRows read_rows(const TrainArguments& arguments, Terminal& terminal) {
    const auto reader = open_rows(arguments.input, arguments.format);
    const std::size_t dim = reader->dim();
    std::size_t most = arguments.sample;
    if (!arguments.max_memory.empty()) {
        most = std::min(most, affordable_rows(dim, parse_size(arguments.max_memory)));
    }
    TrainingRows rows{
        .sample = RowSample(dim, most, arguments.options.seed, reader->rows().value_or(0))};
    const std::size_t batch_rows =
        std::clamp<std::size_t>(kBatchBytes / (dim * sizeof(float)), 1, kBatchRows);
    RowBatch batch;
    while (reader->next(batch_rows, batch)) {
        StopSignal::throw_if_came();
        reject_unusable(batch, arguments.options.metric);
        rows.sample.add(batch.view());
        for (const RejectedRow& row : batch.rejected) {
            if (++rows.rejected == 1) {
                terminal.note(
                    "Rows are left out of the training, the first is row " +
                    std::to_string(row.row) + ": " + row.reason);
            }
        }
        terminal.progress("read", reader->fraction_read(), grouped(rows.read()) + " rows");
    }
    terminal.finish_progress(
        "read", grouped(rows.read()) + " rows" +
                    (rows.rejected > 0 ? ", left out: " + grouped(rows.rejected) : "") +
                    ", sampled: " + grouped(rows.sample.rows().rows()));
    return rows;
}

/// What a file beside the input is read as.
struct SideFile {
    std::string path;
    std::size_t most;         ///< Rows to hold, drawn by the seed.
    std::string_view subject; ///< What errors begin with: "Pair".
    std::string_view reading; ///< What progress says: "read pairs".
};

/// Reads a file beside the input.
/// @throws Error  kInvalidArgument: a row cannot be used. They are few, or belong with others.
RowSample read_side(const SideFile& file, const TrainArguments& arguments, Terminal& terminal) {
    const auto reader = open_rows(file.path, arguments.format);
    RowSample sample(reader->dim(), file.most, arguments.options.seed, reader->rows().value_or(0));
    RowBatch batch;
    while (reader->next(kBatchRows, batch)) {
        StopSignal::throw_if_came();
        reject_unusable(batch, arguments.options.metric);
        if (!batch.rejected.empty()) {
            fail(
                ErrorKind::kInvalidArgument, file.subject,
                " has a row that cannot be used: ", batch.rejected.front().reason, " (row ",
                batch.rejected.front().row, " of ", file.path, ")");
        }
        sample.add(batch.view());
        terminal.progress(
            file.reading, reader->fraction_read(), grouped(sample.rows_offered()) + " rows");
    }
    return sample;
}

/// Returns the queries; nothing where none are asked for.
std::optional<RowSample> read_queries(const TrainArguments& arguments, Terminal& terminal) {
    if (arguments.queries.empty()) {
        return std::nullopt;
    }
    RowSample sample = read_side(
        {arguments.queries, kMaxTrainingQueries, "File of queries", "read queries"}, arguments,
        terminal);
    if (sample.rows_offered() == 0) {
        fail(ErrorKind::kInvalidArgument, "File of queries has no rows: ", arguments.queries);
    }
    terminal.finish_progress("read queries", grouped(sample.rows_offered()) + " rows");
    return sample;
}

/// Both sides of the pairs; nothing where none are asked for.
struct Pairs {
    std::optional<RowSample> queries;
    std::optional<RowSample> rows;

    Pairs(const TrainArguments& arguments, Terminal& terminal) {
        if (arguments.pair_queries.empty()) {
            return;
        }
        const auto read = [&](const std::string& file) { // Both sides draw the same.
            return read_side({file, kMaxTrainingPairs, "Pair", "read pairs"}, arguments, terminal);
        };
        queries = read(arguments.pair_queries);
        rows = read(arguments.pair_rows);
        if (queries->rows_offered() != rows->rows_offered() || queries->rows_offered() == 0) {
            fail(
                ErrorKind::kInvalidArgument,
                "Files of pairs must have as many rows as each other, at least one: ",
                queries->rows_offered(), ", ", rows->rows_offered());
        }
        terminal.finish_progress("read pairs", grouped(rows->rows_offered()) + " pairs");
    }
};

/// Trains; where a signal ends it, says how to go on.
std::unique_ptr<Compressor> train_on(
    MatrixView<const float> rows, const TrainOptions& options, const std::string& input) {
    try {
        return Compressor::train(rows, options);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::kCancelled ||
            !Compressor::has_checkpoint(options.checkpoint)) {
            throw;
        }
        fail(
            ErrorKind::kCancelled, error.what(), "; the same command with --resume goes on from ",
            options.checkpoint.string(), ", input: ", input);
    }
}

void train(TrainArguments arguments, Terminal& terminal) {
    const StopSignal stop;
    TrainOptions& options = arguments.options;
    options.metric = metric_from_string(arguments.metric);
    if (arguments.threads > 0) {
        set_num_threads(arguments.threads);
    }
    const OutputDirectory output(arguments.output);
    options.checkpoint = output.checkpoint();
    const bool has_checkpoint = Compressor::has_checkpoint(options.checkpoint);
    if (options.resume && !has_checkpoint) { // Before a long file is read.
        fail(
            ErrorKind::kNotFound,
            "No checkpoint to resume from, leave out --resume: ", options.checkpoint.string());
    }
    if (!options.resume && has_checkpoint) {
        terminal.note(
            "A checkpoint of an earlier training will be replaced, --resume goes on from it: " +
            options.checkpoint.string());
    }
    const TrainingRows rows = read_rows(arguments, terminal);
    const std::optional<RowSample> queries = read_queries(arguments, terminal);
    if (queries) {
        options.queries = queries->rows();
    }
    const Pairs pairs(arguments, terminal);
    if (pairs.queries) {
        options.pair_queries = pairs.queries->rows();
        options.pair_rows = pairs.rows->rows();
    }
    options.progress = terminal.training_progress("train");
    const auto model = train_on(rows.sample.rows(), options, arguments.input);
    model->save(output.path());
    Compressor::remove_checkpoint(options.checkpoint);
    terminal.finish_progress("train", readable_seconds(model->report().seconds));
    Json json = {
        {"model", output.path().string()},
        {"rows_read", rows.read()},
        {"rows_rejected", rows.rejected},
        {"rows_sampled", rows.sample.rows().rows()}};
    json.update(model_json(*model));
    terminal.result(
        json, model_text(*model) + "\nmodel directory: " + output.path().string() +
                  "\nrows read: " + grouped(rows.read()) +
                  ", sampled: " + grouped(rows.sample.rows().rows()) + "\n");
}

} // namespace

Run declare_train(CLI::App& command) {
    const auto arguments = std::make_shared<TrainArguments>();
    TrainOptions& options = arguments->options;
    command.add_option("input,--input", arguments->input, "File of embeddings")->required();
    command.add_option("--input-format", arguments->format, "One of " + row_format_names())
        ->capture_default_str();
    command.add_option("--output", arguments->output, "Model directory to write")->required();
    add_count(command, "--bytes", options.code_bytes, "Longest code of a row, in bytes")
        ->capture_default_str();
    command.add_option("--metric", arguments->metric, "One of cosine, ip, l2")
        ->capture_default_str();
    add_count(
        command, "--sample", arguments->sample,
        "Most rows to hold and learn from, drawn uniformly by --seed")
        ->capture_default_str();
    command.add_option(
        "--max-memory", arguments->max_memory,
        "Resident memory that the sample has to leave training enough of, such as 2G");
    command
        .add_option(
            "--time-budget", options.time_budget_s,
            "Seconds after which training ends with what it has")
        ->check(CLI::PositiveNumber);
    command.add_flag(
        "!--no-relations", options.relations,
        "Leave codebooks as clustering made them: faster, lower recall");
    command.add_flag(
        "--features", options.features,
        "Learn float features for classifiers and clusterings, too: takes about twice as long");
    command.add_flag(
        "--compact", options.compact,
        "A smaller model: fewer tokens over the whole space, weights as float16");
    command.add_flag(
        "--resume", options.resume,
        "Go on from the checkpoint of a training that did not end, with the same options");
    command
        .add_option(
            "--checkpoint-every", options.checkpoint_every_s,
            "Seconds between checkpoints, in the output's directory until the model is there")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command.add_option(
        "--queries", arguments->queries,
        "File of rows of the kind that will ask, where that is another kind than the input's");
    CLI::Option* const pair_queries = command.add_option(
        "--pair-queries", arguments->pair_queries,
        "File of queries, each of which belongs with the same row of --pair-rows");
    CLI::Option* const relevant = command.add_option(
        "--pair-rows", arguments->pair_rows, "File of rows that belong with --pair-queries");
    pair_queries->needs(relevant);
    relevant->needs(pair_queries);
    add_count(command, "--seed", options.seed, "Same rows, options and seed: same model")
        ->capture_default_str();
    add_count(command, "--threads", arguments->threads, "Threads; default: one a core");
    return [arguments](Terminal& terminal) { train(*arguments, terminal); };
}

} // namespace arfc::tools
