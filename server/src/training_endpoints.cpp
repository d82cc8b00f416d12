#include "endpoints.h"
#include "envelope.h"
#include "json_reader.h"
#include "registry.h"

namespace arfc::server {

namespace {

constexpr std::string_view kOptionalFields[] = {"time_budget_s", "seed", "keep_raw"};

double read_time_budget(JsonValue& value) {
    const double seconds = value.number();
    if (seconds <= 0) {
        fail(
            ErrorKind::kInvalidArgument, "Number is out of range: ", value.path().text(), ", ",
            seconds, ", expected more than 0 seconds");
    }
    return seconds;
}

CollectionTrainOptions read_train_options(const std::string& body) {
    CollectionTrainOptions options;
    if (body.empty()) {
        return options;
    }
    JsonDocument(body).read([&](std::string_view name, JsonValue& field) {
        if (field.is_absent(name, kOptionalFields)) {
            return;
        }
        if (name == "time_budget_s") {
            options.time_budget_s = read_time_budget(field);
        } else if (name == "seed") {
            options.seed = field.unsigned_number();
        } else if (name == "keep_raw") {
            options.keep_raw = field.boolean();
        } else {
            field.refuse(name);
        }
    });
    return options;
}

/// Counts a training for as long as it lives.
class RunningTraining {
  public:
    explicit RunningTraining(ServedCollection& served) noexcept : served_(served) {
        ++served_.trainings;
    }
    RunningTraining(const RunningTraining&) = delete;
    RunningTraining& operator=(const RunningTraining&) = delete;
    ~RunningTraining() { --served_.trainings; }

  private:
    ServedCollection& served_;
};

} // namespace

Response train_collection(const Call& call, Registry& registry) {
    const auto served = registry.find(call.captures[0]);
    CollectionTrainOptions options = read_train_options(call.request.body);
    options.progress = [&served](const Progress&) { return !served->closing; };
    const RunningTraining running(*served);
    const CollectionTrainReport report = served->collection->train(options);
    Success success(call.request);
    JsonWriter& json = success.result();
    json.begin_object();
    json.field("model_id", report.model_id);
    json.field("rows", report.rows);
    json.field("seconds", report.seconds);
    json.key("held_out_recall");
    if (report.held_out_recall) {
        json.value(*report.held_out_recall);
    } else {
        json.null();
    }
    json.field("raw_dropped", report.raw_dropped);
    json.end_object();
    return success.finish();
}

} // namespace arfc::server
