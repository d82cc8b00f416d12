#include "subcommands/model_report.h"

#include <algorithm>

#include "terminal/key_values.h"
#include "terminal/numbers.h"

namespace arfc::tools {
namespace {

std::string compression_ratio(const Compressor& model) {
    const double ratio =
        static_cast<double>(model.dim() * sizeof(float)) / static_cast<double>(model.code_bytes());
    return with_digits(ratio, 1) + "x";
}

/// Returns a line of a list by code length.
std::string length_line(std::size_t bytes, const std::string& value) {
    const std::string number = std::to_string(bytes);
    return std::string(6 - std::min<std::size_t>(6, number.size()), ' ') + number + " bytes  " +
           value + "\n";
}

} // namespace

Json recall_json(std::span<const HeldOutRecall> recall) {
    Json list = Json::array();
    for (const HeldOutRecall& point : recall) {
        list.push_back({{"bytes", point.bytes}, {"recall_at_10", point.recall_at_10}});
    }
    return list;
}

std::string recall_text(std::span<const HeldOutRecall> recall) {
    std::string text;
    for (const HeldOutRecall& point : recall) {
        text += length_line(point.bytes, with_digits(point.recall_at_10, 3));
    }
    return text;
}

Json residuals_json(std::span<const HeldOutResidual> residuals) {
    Json list = Json::array();
    for (const HeldOutResidual& point : residuals) {
        list.push_back(
            {{"bytes", point.bytes}, {"share", point.share}, {"deviation", point.deviation}});
    }
    return list;
}

std::string residuals_text(std::span<const HeldOutResidual> residuals) {
    std::string text;
    for (const HeldOutResidual& point : residuals) {
        text += length_line(point.bytes, with_digits(point.share, 4));
    }
    return text;
}

Json parts_json(std::span<const PartReport> parts) {
    Json list = Json::array();
    for (const PartReport& part : parts) {
        list.push_back(
            {{"part", part.part},
             {"is_kept", part.is_kept},
             {"held_out_recall", recall_json(part.recall)}});
    }
    return list;
}

/// A line for each part, its recall by length.
std::string parts_text(std::span<const PartReport> parts) {
    std::vector<std::pair<std::string, std::string>> lines;
    for (const PartReport& part : parts) {
        std::string line;
        for (const HeldOutRecall& point : part.recall) {
            line +=
                with_digits(point.recall_at_10, 3) + " at " + std::to_string(point.bytes) + ", ";
        }
        lines.emplace_back("  " + part.part, line + (part.is_kept ? "kept" : "no gain, left out"));
    }
    return key_values(lines);
}

Json pairs_json(const PairReport& pairs) {
    const auto accuracy = [](const PairAccuracy& of) {
        return Json{{"queries", of.queries}, {"before", of.before}, {"after", of.after}};
    };
    return {
        {"pairs", pairs.pairs},
        {"is_kept", pairs.is_kept},
        {"seen", accuracy(pairs.seen)},
        {"unseen", accuracy(pairs.unseen)}};
}

/// Tells how often held-out queries of pairs are answered rightly.
std::string accuracy_text(const PairAccuracy& of) {
    return with_digits(100.0 * of.before, 1) + " % of " + grouped(of.queries) +
           " held-out queries answered rightly before, " + with_digits(100.0 * of.after, 1) +
           " % after";
}

Json model_json(const Compressor& model) {
    const TrainReport& report = model.report();
    Json json = {
        {"id", model.id()},
        {"dim", model.dim()},
        {"code_bytes", model.code_bytes()},
        {"metric", to_string(model.metric())},
        {"model_bytes", model.model_bytes()},
        {"trained_rows", report.trained_rows},
        {"held_out_rows", report.held_out_rows},
        {"training_seconds", report.seconds},
        {"stopped_by_budget", report.stopped_by_budget},
        {"held_out_recall", recall_json(report.recall)},
        {"held_out_residual", residuals_json(report.residuals)}};
    if (report.pairs) {
        json["pairs"] = pairs_json(*report.pairs);
    }
    if (!report.parts.empty()) {
        json["parts"] = parts_json(report.parts);
    }
    return json;
}

std::string model_text(const Compressor& model) {
    const TrainReport& report = model.report();
    std::vector<std::pair<std::string, std::string>> facts = {
        {"model", model.id()},
        {"width", std::to_string(model.dim()) + " floats, " +
                      std::to_string(model.dim() * sizeof(float)) + " bytes a row"},
        {"code", std::to_string(model.code_bytes()) + " bytes a row, " + compression_ratio(model) +
                     " smaller, every prefix a coarser code"},
        {"metric", std::string(to_string(model.metric()))},
        {"model size", readable_bytes(model.model_bytes())},
        {"trained", "on " + grouped(report.trained_rows) + " rows in " +
                        readable_seconds(report.seconds) +
                        (report.stopped_by_budget ? ", ended by the time budget" : "")}};
    if (report.pairs) {
        const PairReport& pairs = *report.pairs;
        facts.emplace_back(
            "pairs", grouped(pairs.pairs) + (pairs.is_kept ? ", rows are mapped as they taught"
                                                           : ", without a gain, left unused"));
        if (pairs.seen.queries > 0) {
            facts.emplace_back("seen kinds", accuracy_text(pairs.seen));
        }
        if (pairs.unseen.queries > 0) {
            facts.emplace_back("unseen kinds", accuracy_text(pairs.unseen));
        }
    }
    std::string text = key_values(facts);
    if (report.recall.empty()) {
        return text + "held-out recall@10  not measured, too few rows to hold any out\n";
    }
    text += "\nrecall@10 on " + grouped(report.held_out_rows) + " rows that were held out\n" +
            recall_text(report.recall);
    if (!report.parts.empty()) {
        text +=
            "\nwhat parts of the training add: recall@10 of those rows among themselves and"
            " rows that trained, by bytes\n" +
            parts_text(report.parts);
    }
    if (!report.residuals.empty()) {
        text +=
            "\nshare of their squared length that codes leave\n" + residuals_text(report.residuals);
    }
    return text;
}

} // namespace arfc::tools
