#include <array>

#include "arfc/compressor/compressor.h"
#include "residual_compressor.h"
#include "residual_trainer.h"

namespace arfc {

std::span<const CompressorKind> compressor_kinds() noexcept {
    static constexpr std::array kKinds = {
        CompressorKind{
            "residual",
            "Residual codebooks over the whole space, then over sub-spaces; no network.",
            train_residual, open_residual},
    };
    return kKinds;
}

} // namespace arfc
