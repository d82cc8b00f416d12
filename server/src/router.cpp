#include "router.h"

#include <algorithm>
#include <cctype>

#include "arfc/base/error.h"
#include "errors.h"

namespace arfc::server {

namespace {

int hexadecimal(char digit) {
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    const char lower = static_cast<char>(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string percent_decoded(std::string_view text, bool plus_is_space) {
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+' && plus_is_space) {
            decoded += ' ';
            continue;
        }
        if (text[i] != '%') {
            decoded += text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? hexadecimal(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hexadecimal(text[i + 2]) : -1;
        if (high < 0 || low < 0) {
            fail(
                ErrorKind::kInvalidArgument,
                "Percent sign is not followed by two hexadecimal digits: ", text);
        }
        decoded += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return decoded;
}

/// Takes the text up to the next slash off the front. A path "/a/b" has the segments "", "a", "b".
std::string_view take_segment(std::string_view& path) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view segment = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    return segment;
}

bool matches(std::string_view pattern, std::string_view path, std::vector<std::string>& captures) {
    captures.clear();
    if (std::count(pattern.begin(), pattern.end(), '/') !=
        std::count(path.begin(), path.end(), '/')) {
        return false;
    }
    while (!pattern.empty()) {
        const std::string_view expected = take_segment(pattern);
        const std::string_view segment = take_segment(path);
        if (expected.starts_with('{')) {
            if (segment.empty()) {
                return false;
            }
            captures.push_back(percent_decoded(segment, false));
        } else if (expected != segment) {
            return false;
        }
    }
    return path.empty();
}

std::string joined_names(const std::vector<Method>& methods) {
    std::string names;
    for (const Method method : methods) {
        names += (names.empty() ? "" : ", ") + std::string(to_string(method));
    }
    return names;
}

Response refuse_target(const Request& request, const Match& found) {
    const std::string path(path_of(request.target));
    if (found.other_methods.empty()) {
        return error_response(request, 404, ErrorKind::kNotFound, "There is no such path: " + path);
    }
    const std::string allowed = joined_names(found.other_methods);
    Response response = error_response(
        request, 405, ErrorKind::kInvalidArgument,
        "Path does not take this method: " + std::string(to_string(request.method)) + " " + path +
            ", expected " + allowed);
    response.headers.emplace_back("Allow", allowed);
    return response;
}

/// Whether a Content-Type is JSON in UTF-8, whatever its letter case and spaces; no type at all is.
bool is_json(std::string_view content_type) {
    std::string plain;
    for (const char character : content_type) {
        if (std::isspace(static_cast<unsigned char>(character)) == 0 && character != '"') {
            plain += static_cast<char>(std::tolower(static_cast<unsigned char>(character)));
        }
    }
    return plain.empty() || plain == "application/json" ||
           plain == "application/json;charset=utf-8";
}

void read_parameters(const Route& route, Call& call) {
    for (const auto& [name, value] : query_parameters(call.request.target)) {
        if (name == "ordering" || name == "consistency" || name == "timeout") {
            fail(ErrorKind::kUnsupported, "Query parameter is not offered: ", name);
        }
        if (name != "wait" || !route.takes_wait) {
            fail(ErrorKind::kInvalidArgument, "Query parameter is unknown: ", name);
        }
        if (value != "true" && value != "false") {
            fail(
                ErrorKind::kInvalidArgument, "Query parameter is not true or false: wait, \"",
                value, "\"");
        }
        call.wait = value == "true";
    }
}

} // namespace

std::string_view to_string(Method method) noexcept {
    switch (method) {
        case Method::kGet: return "GET";
        case Method::kPut: return "PUT";
        case Method::kPost: return "POST";
        case Method::kDelete: return "DELETE";
        case Method::kOther: return "another method";
    }
    return "another method";
}

std::string_view path_of(std::string_view target) noexcept {
    return target.substr(0, target.find('?'));
}

std::vector<std::pair<std::string, std::string>> query_parameters(std::string_view target) {
    std::vector<std::pair<std::string, std::string>> parameters;
    const std::size_t question_mark = target.find('?');
    std::string_view rest =
        question_mark == std::string_view::npos ? "" : target.substr(question_mark + 1);
    while (!rest.empty()) {
        const std::string_view part = rest.substr(0, rest.find('&'));
        rest.remove_prefix(std::min(part.size() + 1, rest.size()));
        if (part.empty()) {
            continue;
        }
        const std::size_t equals = std::min(part.find('='), part.size());
        const std::string_view value = equals == part.size() ? "" : part.substr(equals + 1);
        parameters.emplace_back(
            percent_decoded(part.substr(0, equals), true), percent_decoded(value, true));
    }
    return parameters;
}

Match match(std::span<const Route> table, Method method, std::string_view path) {
    Match found;
    for (const Route& route : table) {
        std::vector<std::string> captures;
        if (!matches(route.pattern, path, captures)) {
            continue;
        }
        if (route.method == method) {
            found.route = &route;
            found.captures = std::move(captures);
            return found;
        }
        if (std::find(found.other_methods.begin(), found.other_methods.end(), route.method) ==
            found.other_methods.end()) {
            found.other_methods.push_back(route.method);
        }
    }
    return found;
}

Response handle(const Request& request, Registry& registry) {
    return handle(request, registry, routes());
}

Response handle(const Request& request, Registry& registry, std::span<const Route> table) {
    try {
        Match found = match(table, request.method, path_of(request.target));
        if (found.route == nullptr) {
            return refuse_target(request, found);
        }
        if (!request.body.empty() && !is_json(request.content_type)) {
            return error_response(
                request, 415, ErrorKind::kInvalidArgument,
                "Content-Type is not application/json: " + request.content_type);
        }
        Call call{.request = request, .captures = std::move(found.captures)};
        read_parameters(*found.route, call);
        return found.route->handler(call, registry);
    } catch (...) {
        return response_of_current_exception(request);
    }
}

bool may_block(const Request& request) noexcept {
    try {
        const Match found = match(routes(), request.method, path_of(request.target));
        return found.route != nullptr && found.route->runs_on == RunsOn::kPool;
    } catch (...) {
        return false; // It will be refused, at once.
    }
}

} // namespace arfc::server
