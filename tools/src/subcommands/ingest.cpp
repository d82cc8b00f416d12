#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <system_error>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"
#include "arfc/index/collection.h"
#include "count_option.h"
#include "ingest/drift_watch.h"
#include "ingest/ingestion.h"
#include "model_argument.h"
#include "readers/row_reader.h"
#include "subcommand.h"
#include "subcommands/drift_report.h"
#include "terminal/key_values.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"

namespace arfc::tools {
namespace {

struct IngestArguments {
    std::string collection;
    std::string input;
    std::string format = "auto";
    std::string ids;
    std::string payloads;
    bool create = false;
    std::optional<std::size_t> dim;
    std::string metric; // Empty: the model's, else cosine.
    std::string model;
    std::string factory = CollectionOptions{}.factory;
    bool no_calibration = false;
    bool train = false;
    std::optional<double> time_budget_s;
    std::optional<std::string> rejects;
    std::string max_memory; // Empty: no limit.
    IngestionOptions options;
};

/// A load's outcome, for both forms of the result.
struct IngestOutcome {
    std::uint64_t rows_in = 0;
    std::uint64_t rows_stored = 0;
    double seconds = 0;
    std::optional<CollectionTrainReport> training;
    std::optional<Drift> drift; ///< Nothing where no model encoded the rows, or it cannot tell.
    std::uint64_t points = 0;
};

std::unique_ptr<RowReader> open_input(
    const IngestArguments& arguments, std::optional<std::size_t> dim) {
    auto reader = open_rows(arguments.input, arguments.format, dim);
    if (!arguments.ids.empty()) {
        reader = attach_ids(std::move(reader), arguments.ids);
    }
    if (!arguments.payloads.empty()) {
        reader = attach_payloads(std::move(reader), arguments.payloads);
    }
    return reader;
}

Metric metric_of_new(const IngestArguments& arguments) {
    if (!arguments.metric.empty()) {
        return metric_from_string(arguments.metric);
    }
    return arguments.model.empty() ? Metric::kCosine : Compressor::open(arguments.model)->metric();
}

std::unique_ptr<Collection> open_collection(const IngestArguments& arguments) {
    auto collection = Collection::open(arguments.collection);
    if (arguments.train && !collection->info().model_id.empty()) { // Before rows are loaded.
        fail(
            ErrorKind::kFailedPrecondition,
            "Collection has a model already: ", collection->info().model_id, "; leave out --train");
    }
    return collection;
}

/// The file of rejected rows is written anew, so it must not be one that is read.
void require_rejects_elsewhere(const IngestArguments& arguments) {
    for (const std::string& input : {arguments.input, arguments.ids, arguments.payloads}) {
        std::error_code missing;
        if (arguments.rejects && std::filesystem::equivalent(input, *arguments.rejects, missing)) {
            fail(
                ErrorKind::kInvalidArgument,
                "File of rejected rows would replace an input: ", *arguments.rejects);
        }
    }
}

std::string progress_detail(
    const Ingestion& ingestion, const RejectLog& rejects, std::optional<std::uint64_t> total,
    double seconds) {
    std::string detail = grouped(ingestion.rows_stored()) + " rows stored";
    if (total) {
        detail += " of " + grouped(*total);
    }
    if (rejects.count() > 0) {
        detail += ", " + grouped(rejects.count()) + " rejected";
    }
    const double rate = static_cast<double>(ingestion.rows_in()) / std::max(seconds, 1e-3);
    detail += ", " + grouped(static_cast<std::uint64_t>(rate)) + " rows/s";
    if (total && ingestion.rows_in() > 0) {
        const auto left = static_cast<double>(*total - ingestion.rows_in());
        detail += ", " + readable_seconds(left / std::max(rate, 1e-3)) + " left";
    }
    return detail;
}

/// Moves every row; an error says how many rows are durable all the same.
IngestOutcome load(
    RowReader& reader, Collection& collection, const IngestArguments& arguments, RejectLog& rejects,
    Terminal& terminal) {
    const auto start = std::chrono::steady_clock::now();
    const auto seconds = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    DriftWatch watch(
        collection.model(), [&](const std::string& sentence) { terminal.note(sentence); });
    Ingestion ingestion(
        reader, rejects, arguments.options, [&](auto ids, auto rows, auto payloads) {
            collection.upsert(ids, rows, payloads, /*wait=*/true);
            watch.add(rows);
        });
    const auto end_early = [&](ErrorKind kind, const char* why) {
        fail(
            kind, why, "; rows stored and durable: ", ingestion.rows_stored(),
            ", rejected: ", rejects.count());
    };
    try {
        StopSignal::throw_if_came();
        while (ingestion.step()) {
            terminal.progress(
                "ingest", reader.fraction_read(),
                progress_detail(ingestion, rejects, reader.rows(), seconds()));
            StopSignal::throw_if_came();
        }
    } catch (const Error& error) {
        end_early(error.kind(), error.what());
    } catch (const std::bad_alloc&) {
        end_early(ErrorKind::kResourceExhausted, "Memory ran out");
    }
    terminal.finish_progress(
        "ingest", progress_detail(ingestion, rejects, reader.rows(), seconds()));
    return {
        .rows_in = ingestion.rows_in(),
        .rows_stored = ingestion.rows_stored(),
        .seconds = seconds(),
        .training = {},
        .drift = watch.finish()};
}

/// Learns a model from the rows; an error says that they are still there.
CollectionTrainReport train(
    Collection& collection, const IngestArguments& arguments, Terminal& terminal) {
    try {
        CollectionTrainReport report = collection.train(
            {.time_budget_s = arguments.time_budget_s,
             .progress = terminal.training_progress("train")});
        terminal.finish_progress("train", readable_seconds(report.seconds));
        return report;
    } catch (const Error& error) {
        fail(
            error.kind(), error.what(),
            "; the collection keeps its rows as float32, points: ", collection.info().points);
    }
}

/// Learns lists from all the rows where the load made the earlier ones poor.
void optimize(Collection& collection, const IngestOutcome& outcome, Terminal& terminal) {
    try {
        if (collection.optimize(terminal.training_progress("optimize"))) {
            terminal.finish_progress("optimize", "lists and search defaults fit the rows");
        }
    } catch (const Error& error) {
        fail(error.kind(), error.what(), "; rows stored and durable: ", outcome.rows_stored);
    }
}

Json outcome_json(const IngestOutcome& outcome, const RejectLog& rejects) {
    Json first = Json::array();
    for (const RejectedRow& row : rejects.first()) {
        first.push_back(to_json(row));
    }
    Json json = {{"rows_in", outcome.rows_in},       {"rows_stored", outcome.rows_stored},
                 {"rows_rejected", rejects.count()}, {"first_rejected", first},
                 {"seconds", outcome.seconds},       {"points", outcome.points}};
    if (outcome.drift) {
        json["drift"] = drift_json(*outcome.drift);
    }
    if (outcome.training) {
        const CollectionTrainReport& training = *outcome.training;
        json["training"] = {
            {"model_id", training.model_id},
            {"rows", training.rows},
            {"seconds", training.seconds},
            {"held_out_recall", nullptr},
            {"raw_dropped", training.raw_dropped}};
        if (training.held_out_recall) {
            json["training"]["held_out_recall"] = *training.held_out_recall;
        }
    }
    return json;
}

std::string outcome_text(const IngestOutcome& outcome, const RejectLog& rejects) {
    std::vector<std::pair<std::string, std::string>> facts = {
        {"rows in", grouped(outcome.rows_in)},
        {"rows stored", grouped(outcome.rows_stored)},
        {"rows rejected", grouped(rejects.count())},
        {"points now", grouped(outcome.points)},
        {"time", readable_seconds(outcome.seconds)}};
    if (outcome.training) {
        const CollectionTrainReport& training = *outcome.training;
        facts.emplace_back("model", training.model_id);
        facts.emplace_back(
            "held-out recall@10", training.held_out_recall
                                      ? with_digits(*training.held_out_recall, 3)
                                      : "not measured, too few rows");
        facts.emplace_back(
            "float32 rows",
            training.raw_dropped ? "dropped, codes are what is kept" : "kept beside the codes");
    }
    std::string text = key_values(facts);
    if (rejects.count() > 0) {
        text += "\nfirst rows rejected\n";
    }
    for (const RejectedRow& row : rejects.first()) {
        text +=
            "  " +
            (row.line ? "line " + std::to_string(*row.line) : "row " + std::to_string(row.row)) +
            ": " + row.reason + "\n";
    }
    return text;
}

void ingest(IngestArguments arguments, Terminal& terminal) {
    const StopSignal stop;
    arguments.model = model_directory(arguments.model).string();
    if (!arguments.max_memory.empty()) {
        arguments.options.max_memory = parse_size(arguments.max_memory);
    }
    std::unique_ptr<Collection> collection;
    std::unique_ptr<RowReader> reader;
    if (!arguments.create) {
        collection = open_collection(arguments);
        arguments.options.metric = collection->info().metric;
        reader = open_input(arguments, collection->info().dim);
    } else {
        reader = open_input(arguments, arguments.dim);
        arguments.options.metric = metric_of_new(arguments);
    }
    require_rejects_elsewhere(arguments);
    RejectLog rejects(arguments.rejects);
    if (arguments.create) { // Last, so that a wrong file leaves no empty collection behind.
        collection = Collection::create(
            arguments.collection, {.dim = reader->dim(),
                                   .metric = arguments.options.metric,
                                   .factory = arguments.factory,
                                   .model = arguments.model,
                                   .calibration = !arguments.no_calibration});
    }
    IngestOutcome outcome = load(*reader, *collection, arguments, rejects, terminal);
    if (arguments.train && outcome.rows_stored > 0) {
        outcome.training = train(*collection, arguments, terminal);
    }
    optimize(*collection, outcome, terminal);
    outcome.points = collection->info().points;
    collection->close();
    terminal.result(outcome_json(outcome, rejects), outcome_text(outcome, rejects));
    if (outcome.rows_in > 0 && outcome.rows_stored == 0) {
        fail(
            ErrorKind::kInvalidArgument, "Every row was rejected, rows: ", outcome.rows_in,
            ", the first: ", rejects.first().front().reason);
    }
}

void declare_creation(CLI::App& command, IngestArguments& arguments) {
    CLI::Option* const create =
        command.add_flag("--create", arguments.create, "Create the collection; it must not exist");
    command.add_option("--factory", arguments.factory, "Codes and index of a new collection")
        ->capture_default_str()
        ->needs(create);
    command
        .add_option(
            "--metric", arguments.metric,
            "Of a new collection: one of cosine, ip, l2; default: the model's, or cosine")
        ->needs(create);
    add_count(
        command, "--dim", arguments.dim, "Embedding width of a new collection; default: the file's")
        ->needs(create);
    command
        .add_flag(
            "--no-calibration", arguments.no_calibration,
            "Keep no rows uncompressed in a new collection; plans then know codes alone")
        ->needs(create);
    CLI::Option* const model =
        command
            .add_option(
                "--model", arguments.model,
                std::string(kModelArgument) + ", to copy into a new collection")
            ->needs(create);
    CLI::Option* const train =
        command
            .add_flag("--train", arguments.train, "Learn a model from the rows after loading them")
            ->excludes(model);
    command
        .add_option(
            "--time-budget", arguments.time_budget_s,
            "Seconds after which training ends with what it has")
        ->check(CLI::PositiveNumber)
        ->needs(train);
}

} // namespace

Run declare_ingest(CLI::App& command) {
    const auto arguments = std::make_shared<IngestArguments>();
    IngestionOptions& options = arguments->options;
    command.add_option("--collection", arguments->collection, "Collection directory")->required();
    command.add_option("input,--input", arguments->input, "File of embeddings")->required();
    command.add_option("--format", arguments->format, "One of " + row_format_names())
        ->capture_default_str();
    CLI::Option* const ids = command.add_option(
        "--ids", arguments->ids, ".npy array of integers: the ids of the rows (not with jsonl)");
    command.add_option(
        "--payloads", arguments->payloads,
        "File whose line i is row i's payload, a JSON object or empty (not with jsonl)");
    declare_creation(command, *arguments);
    add_count(
        command, "--batch", options.batch_rows,
        "Rows a durable write: what progress shows as stored survives a power loss")
        ->capture_default_str();
    add_count(
        command, "--start-id", options.start_id,
        "Id of the file's first row, of those that have none; the others count up")
        ->capture_default_str()
        ->excludes(ids);
    command.add_option(
        "--rejects", arguments->rejects,
        "File for rejected rows, a line each: {\"row\", \"line\", \"reason\"}");
    command.add_option(
        "--max-memory", arguments->max_memory,
        "Resident memory at which loading ends, such as 2G (exit code 7)");
    return [arguments](Terminal& terminal) { ingest(*arguments, terminal); };
}

} // namespace arfc::tools
