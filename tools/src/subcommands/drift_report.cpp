#include "subcommands/drift_report.h"

#include <iomanip>
#include <sstream>

#include "terminal/numbers.h"
#include "terminal/text.h"

namespace arfc::tools {
namespace {

/// Writes cells of a table, each at the right end of its column.
std::string table_row(std::initializer_list<std::string> cells) {
    constexpr int kColumn = 11;
    std::ostringstream text;
    for (const std::string& cell : cells) {
        text << std::setw(kColumn) << cell;
    }
    text << '\n';
    return text.str();
}

} // namespace

Json drift_json(const Drift& drift) {
    Json points = Json::array();
    for (const DriftPoint& point : drift.points) {
        points.push_back(
            {{"bytes", point.bytes},
             {"residual", point.residual},
             {"held_out_residual", point.held_out_residual},
             {"ratio", point.ratio},
             {"threshold", point.threshold}});
    }
    return {
        {"rows", drift.rows},
        {"beyond_threshold", drift.is_beyond_threshold()},
        {"points", std::move(points)}};
}

std::string drift_text(const Drift& drift) {
    std::string text = table_row({"bytes", "left", "held out", "ratio", "threshold"});
    for (const DriftPoint& point : drift.points) {
        text += table_row(
            {std::to_string(point.bytes), with_digits(point.residual, 4),
             with_digits(point.held_out_residual, 4), with_digits(point.ratio, 2),
             with_digits(point.threshold, 2)});
    }
    return text + "\n" +
           (drift.is_beyond_threshold() ? drift_warning(drift)
                                        : "Rows are like those that the model was trained on") +
           ", rows: " + grouped(drift.rows) + "\n";
}

std::string drift_warning(const Drift& drift) {
    const DriftPoint& worst = drift.worst();
    return text_of(
        "Rows are unlike those that the model was trained on, and recall will be lower than it"
        " was there: codes of ",
        worst.bytes, " bytes leave ", with_digits(worst.ratio, 2),
        " times as much of them as of rows held out in training, expected at most ",
        with_digits(worst.threshold, 2));
}

} // namespace arfc::tools
