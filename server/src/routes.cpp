#include "endpoints.h"
#include "router.h"

namespace arfc::server {

std::span<const Route> routes() noexcept {
    static constexpr Route kRoutes[] = {
        {Method::kGet, "/", get_service, RunsOn::kInputThread},
        {Method::kGet, "/healthz", get_liveness, RunsOn::kInputThread},
        {Method::kGet, "/livez", get_liveness, RunsOn::kInputThread},
        {Method::kGet, "/readyz", get_readiness, RunsOn::kInputThread},
        {Method::kGet, "/collections", list_collections},
        {Method::kGet, "/collections/{collection}", get_collection},
        {Method::kPut, "/collections/{collection}", create_collection},
        {Method::kDelete, "/collections/{collection}", delete_collection},
        {Method::kPost, "/collections/{collection}/train", train_collection},
        {Method::kPut, "/collections/{collection}/points", upsert_points, RunsOn::kPool, true},
        {Method::kPost, "/collections/{collection}/points/delete", delete_points, RunsOn::kPool,
         true},
        {Method::kPost, "/collections/{collection}/points/query", query_points},
        {Method::kGet, "/collections/{collection}/points/{id}", get_point},
    };
    return kRoutes;
}

} // namespace arfc::server
