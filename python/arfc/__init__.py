"""One code, every length: compressed embeddings of which every prefix is itself a coarser code.

    import arfc
    model = arfc.Compressor.train(x)                          # x [n, dim] float32 -> a model of
    96-byte codes codes = model.encode(x)                                   # uint8 [n, 96];
    codes[:, :16] is a coarser code index = arfc.index_factory(x.shape[1], "ARFC96/16,IVF256",
    arfc.METRIC_INNER_PRODUCT) docs = arfc.Collection.create("docs", x.shape[1], model=model)

Arrays go in without a copy where they are float32 and C-contiguous, from NumPy or anything that
speaks DLPack; NumPy arrays come out. Errors are `ArfcError`s of one class a kind.
"""

from arfc import evaluate, ready_models
from arfc._arfc import num_threads, set_num_threads
from arfc.collection import (
    Collection,
    CollectionInfo,
    CollectionTrainReport,
    Hit,
    Point,
    SearchAnswer,
    StageUsage,
)
from arfc.compressor import (
    Compressor,
    Drift,
    DriftPoint,
    PairAccuracy,
    PairReport,
    PartReport,
    Progress,
    TrainReport,
)
from arfc.errors import (
    AlreadyExistsError,
    ArfcError,
    AuthenticationError,
    CancelledError,
    CorruptionError,
    DeadlineError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    StorageIoError,
    UnsupportedError,
)
from arfc.index import (
    METRIC_INNER_PRODUCT,
    METRIC_L2,
    Index,
    SearchParametersARFC,
    index_factory,
    read_index,
    reverse_index_factory,
    write_index,
)
from arfc.planning import Plan, PlannedPoint, plan

__version__ = "0.1.0"

__all__ = [
    "METRIC_INNER_PRODUCT",
    "METRIC_L2",
    "AlreadyExistsError",
    "ArfcError",
    "AuthenticationError",
    "CancelledError",
    "Collection",
    "CollectionInfo",
    "CollectionTrainReport",
    "Compressor",
    "CorruptionError",
    "DeadlineError",
    "Drift",
    "DriftPoint",
    "FailedPreconditionError",
    "Hit",
    "Index",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "PairAccuracy",
    "PairReport",
    "PartReport",
    "PermissionDeniedError",
    "Plan",
    "PlannedPoint",
    "Point",
    "Progress",
    "ResourceExhaustedError",
    "SearchAnswer",
    "SearchParametersARFC",
    "StageUsage",
    "StorageIoError",
    "TrainReport",
    "UnsupportedError",
    "evaluate",
    "index_factory",
    "num_threads",
    "plan",
    "read_index",
    "ready_models",
    "reverse_index_factory",
    "set_num_threads",
    "write_index",
]
