#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace arfc::server {

/// One TCP connection to a server on the loopback, that sends any bytes it likes.
class RawClient {
  public:
    explicit RawClient(std::uint16_t port) : descriptor_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ =
            ::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) ==
            0;
    }
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;
    ~RawClient() { ::close(descriptor_); }

    [[nodiscard]] bool connected() const noexcept { return connected_; }

    /// @returns whether all bytes were taken.
    bool send(std::string_view bytes) const {
        while (!bytes.empty()) {
            const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (sent <= 0) {
                return false;
            }
            bytes.remove_prefix(static_cast<std::size_t>(sent));
        }
        return true;
    }

    /// Returns the next response, head and body; what came until then if the connection ends or 10
    /// seconds pass.
    /// @param has_body  Whether a Content-Length announces one: not after HEAD.
    std::string response(bool has_body = true) {
        std::size_t head_end = std::string::npos;
        while ((head_end = received_.find("\r\n\r\n")) == std::string::npos) {
            if (!receive()) {
                return std::move(received_);
            }
        }
        std::size_t size = head_end + 4;
        const std::size_t length_at = received_.find("Content-Length: ");
        if (has_body && length_at < head_end) {
            size += std::stoul(received_.substr(length_at + 16));
        }
        while (received_.size() < size) {
            if (!receive()) {
                return std::move(received_);
            }
        }
        std::string response = received_.substr(0, size);
        received_.erase(0, size);
        return response;
    }

    std::string ask(std::string_view request) { return send(request) ? response() : ""; }

    /// Says whether the server ends the connection within a time, sending nothing more.
    bool is_closed_within(std::chrono::milliseconds time) {
        received_.clear();
        return wait(time) && !receive() && received_.empty();
    }

    /// Says whether anything arrives within a time.
    bool is_silent_for(std::chrono::milliseconds time) const {
        return received_.empty() && !wait(time);
    }

  private:
    [[nodiscard]] bool wait(std::chrono::milliseconds time) const {
        pollfd poll{.fd = descriptor_, .events = POLLIN, .revents = 0};
        return ::poll(&poll, 1, static_cast<int>(time.count())) > 0;
    }
    bool receive() {
        char bytes[65536];
        if (!wait(std::chrono::seconds(10))) {
            ADD_FAILURE() << "nothing came for 10 seconds, after: " << received_;
            return false;
        }
        const ssize_t count = ::recv(descriptor_, bytes, sizeof(bytes), 0);
        if (count <= 0) {
            return false;
        }
        received_.append(bytes, static_cast<std::size_t>(count));
        return true;
    }

    int descriptor_;
    bool connected_ = false;
    std::string received_;
};

/// Returns a request with a body of this many bytes announced and given.
inline std::string request_text(
    std::string_view method, std::string_view target, std::string_view body = "",
    std::string_view headers = "") {
    std::string text;
    text += method;
    text += ' ';
    text += target;
    text += " HTTP/1.1\r\nHost: localhost\r\n";
    text += headers;
    if (!body.empty()) {
        text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    }
    text += "\r\n";
    text += body;
    return text;
}

inline std::string body_of(const std::string& response) {
    const std::size_t end = response.find("\r\n\r\n");
    return end == std::string::npos ? "" : response.substr(end + 4);
}

inline std::string status_line_of(const std::string& response) {
    return response.substr(0, response.find("\r\n"));
}

} // namespace arfc::server
