#include "bindings.h"

NB_MODULE(_arfc, module) {
    module.doc() =
        "Native part of arfc; use the package `arfc`, which checks and converts what it is given.";
    arfc::python::register_errors(module);
    arfc::python::bind_compressor(module);
    arfc::python::bind_collection(module);
    arfc::python::bind_index(module);
    arfc::python::bind_plan(module);
}
