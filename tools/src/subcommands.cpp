#include <array>

#include "subcommand.h"

namespace arfc::tools {
namespace {

constexpr std::array<Subcommand, 7> kSubcommands = {{
    {"train", "Learns a model directory from a file of embeddings.",
     "arfc train --input rows.npy --output model --bytes 96 --metric cosine", declare_train},
    {"ingest", "Loads a file of embeddings into a collection, in bounded memory.",
     "arfc ingest --collection docs --input rows.npy --payloads texts.jsonl \\\n"
     "      --create --factory ARFC96/16,IVF256 --train",
     declare_ingest},
    {"search", "Finds the points of a collection that are closest to queries.",
     "arfc search --collection docs --queries questions.npy -k 10 --stages 16:200,96",
     declare_search},
    {"serve", "Serves the collections of a directory over HTTP.",
     "arfc serve --data collections --port 6333", declare_serve},
    {"inspect", "Shows what a collection or a model directory holds and costs.",
     "arfc inspect docs", declare_inspect},
    {"drift", "Tells whether rows are like those that a model was trained on.",
     "arfc drift --model model --input new_rows.npy", declare_drift},
    {"plan", "Finds out how rows should be kept and searched to reach a recall.",
     "arfc plan rows.npy --model model --recall .9 --bytes 80", declare_plan},
}};

} // namespace

std::span<const Subcommand> subcommands() noexcept {
    return kSubcommands;
}

} // namespace arfc::tools
