#pragma once

#include <faiss/AutoTune.h>

#include <string>

namespace arfc {

/// FAISS's ParameterSpace, which also knows ArfcIndex: set_index_parameters(), explore() and
/// OperatingPoints work on it as on FAISS's own indexes.
///
/// It looks through IDMap, IDMap2 and transforms, and sets every index behind shards and replicas.
/// Parameters of an ArfcIndex, which go into its `search_defaults`:
///
/// | name | value |
/// |---|---|
/// | `nprobe` | inverted lists that a search scans, in [1, nlist] |
/// | `efSearch` | rows that a walk through a graph keeps in view, in [1, 10^6] |
/// | `limit<b>` | rows that the stage of b bytes keeps for the next, >= 1, such as `limit16` |
///
/// A search for more answers than a limit keeps as many as it answers.
///
/// Every other index is left to FAISS.
class ParameterSpace : public faiss::ParameterSpace {
  public:
    /// Adds ranges for an index: nprobe in powers of two up to nlist, efSearch from 4 to 512,
    /// limits 10, 20, 50, 100, ... up to the number of rows or 5,000.
    /// @throws Error  kFailedPrecondition: an ARFC index that is not trained. kInvalidArgument:
    /// null.
    void initialize(const faiss::Index* index) override;

    /// @param val     A whole number.
    /// @throws Error  kInvalidArgument: a name or value. kUnsupported: the index has no lists, no
    ///                graph or no such parameter.
    void set_index_parameter(
        faiss::Index* index, const std::string& name, double val) const override;
};

} // namespace arfc
