#include "endpoints.h"
#include "json_writer.h"

namespace arfc::server {

namespace {

Response plain_text(std::string_view text) {
    Response response;
    response.content_type = "text/plain; charset=utf-8";
    response.body = text;
    return response;
}

} // namespace

Response get_service(const Call& /*call*/, Registry& /*registry*/) {
    // Without the envelope, as Qdrant's clients expect it here.
    Response response;
    JsonWriter json(response.body);
    json.begin_object();
    json.field("title", "arfc - one code, every length");
    json.field("version", ARFC_VERSION);
    json.end_object();
    return response;
}

Response get_liveness(const Call& /*call*/, Registry& /*registry*/) {
    return plain_text("healthz check passed");
}

Response get_readiness(const Call& /*call*/, Registry& /*registry*/) {
    // It listens only once every collection has been opened.
    return plain_text("all shards are ready");
}

} // namespace arfc::server
