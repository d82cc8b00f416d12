#pragma once

#include <faiss/impl/FaissException.h>

#include <exception>
#include <new>
#include <stdexcept>
#include <string_view>

#include "arfc/base/error.h"

namespace arfc {

/// Runs work that calls FAISS and lets only arfc::Error out.
/// @param kind  What an exception of FAISS's means here.
/// @param what  Begins the message.
template <class Work>
decltype(auto) translate_faiss(ErrorKind kind, std::string_view what, const Work& work) {
    try {
        return work();
    } catch (const Error&) {
        throw;
    } catch (const faiss::FaissException& error) {
        fail(kind, what, ": ", error.what());
    } catch (const std::bad_alloc&) {
        fail(ErrorKind::kResourceExhausted, what, ": memory ran out");
    } catch (const std::logic_error&) { // A vector of an absurd size, read from a damaged file, or
                                        // a number that FAISS's parser cannot hold.
        fail(kind, what, ": a size is out of range");
    }
}

} // namespace arfc
