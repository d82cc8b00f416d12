#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "request.h"

namespace arfc::server {

class Registry;

/// What a handler is given: the request and what its route took from the target.
struct Call {
    const Request& request;
    std::vector<std::string> captures; ///< The pattern's `{...}` segments, in order,
                                       ///< percent-decoded.
    bool wait = false;                 ///< Query parameter `wait`.
};

using Handler = Response(const Call& call, Registry& registry);

/// Where a handler runs.
enum class RunsOn {
    kInputThread, ///< Answers from what is at hand, in microseconds.
    kPool,        ///< May wait for a disk, a lock or a computation.
};

/// One endpoint.
struct Route {
    Method method;
    std::string_view pattern; ///< Such as "/collections/{collection}/points"; `{...}` takes one
                              ///< segment.
    Handler* handler;
    RunsOn runs_on = RunsOn::kPool;
    bool takes_wait = false; ///< Whether it has the query parameter `wait`.
};

/// Returns every endpoint; docs/rest.md has them one by one.
[[nodiscard]] std::span<const Route> routes() noexcept;

/// Finds a target's route in a table.
struct Match {
    const Route* route = nullptr; ///< Null: no route has this path with this method.
    std::vector<std::string> captures;
    std::vector<Method> other_methods; ///< Where there is no route: the methods that this path has.
};

/// @param path  A target without its query.
/// @throws Error  kInvalidArgument: a percent sign without two hexadecimal digits.
[[nodiscard]] Match match(std::span<const Route> table, Method method, std::string_view path);

/// Returns the parameters after a target's question mark, percent-decoded, in order.
/// @throws Error  kInvalidArgument: a percent sign without two hexadecimal digits.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> query_parameters(
    std::string_view target);

/// Returns a target without its query.
[[nodiscard]] std::string_view path_of(std::string_view target) noexcept;

/// Answers a request: the door's whole work but for the connection. Throws nothing; every error
/// becomes an answer.
[[nodiscard]] Response handle(const Request& request, Registry& registry);

/// Answers a request by a table's routes.
[[nodiscard]] Response handle(
    const Request& request, Registry& registry, std::span<const Route> table);

/// Says whether handle() may take long.
[[nodiscard]] bool may_block(const Request& request) noexcept;

} // namespace arfc::server
