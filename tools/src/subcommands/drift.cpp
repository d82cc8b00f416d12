#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "arfc/base/error.h"
#include "arfc/compressor/compressor.h"
#include "count_option.h"
#include "ingest/row_check.h"
#include "ingest/row_sample.h"
#include "model_argument.h"
#include "readers/row_reader.h"
#include "subcommand.h"
#include "subcommands/drift_report.h"
#include "terminal/numbers.h"
#include "terminal/stop_signal.h"

namespace arfc::tools {
namespace {

constexpr std::size_t kBatchRows = 4096;

struct DriftArguments {
    std::string model;
    std::string input;
    std::string format = "auto";
    std::size_t sample = 5000; // The ratio's error is then that of the rows held out in training.
    std::uint64_t seed = 0;
};

void drift(const DriftArguments& arguments, Terminal& terminal) {
    const StopSignal stop;
    const auto model = Compressor::open(model_directory(arguments.model), "cpu");
    const auto reader = open_rows(arguments.input, arguments.format, model->dim());
    RowSample sample(model->dim(), arguments.sample, arguments.seed, reader->rows().value_or(0));
    std::uint64_t rejected = 0;
    RowBatch batch;
    while (reader->next(kBatchRows, batch)) {
        StopSignal::throw_if_came();
        reject_unusable(batch, model->metric());
        sample.add(batch.view());
        rejected += batch.rejected.size();
        terminal.progress(
            "read", reader->fraction_read(), grouped(sample.rows_offered() + rejected) + " rows");
    }
    if (sample.rows_offered() == 0) {
        fail(
            ErrorKind::kInvalidArgument,
            "File has no row that the model can encode: ", arguments.input,
            ", rejected: ", rejected);
    }
    const Drift drift = model->drift(sample.rows());
    Json json = {
        {"model_id", model->id()},
        {"rows_read", sample.rows_offered() + rejected},
        {"rows_rejected", rejected}};
    json.update(drift_json(drift));
    terminal.result(json, drift_text(drift));
}

} // namespace

Run declare_drift(CLI::App& command) {
    const auto arguments = std::make_shared<DriftArguments>();
    command.add_option("--model", arguments->model, kModelArgument)->required();
    command.add_option("input,--input", arguments->input, "File of embeddings")->required();
    command.add_option("--format", arguments->format, "One of " + row_format_names())
        ->capture_default_str();
    add_count(
        command, "--sample", arguments->sample, "Most rows to measure, drawn uniformly by --seed")
        ->capture_default_str();
    add_count(command, "--seed", arguments->seed, "Same file and seed: same rows")
        ->capture_default_str();
    return [arguments](Terminal& terminal) { drift(*arguments, terminal); };
}

} // namespace arfc::tools
