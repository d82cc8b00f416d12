"""What goes in without a copy, what is converted, and what is refused with its shape."""

from __future__ import annotations

import sys
import tracemalloc

import arfc
import numpy as np
import pytest
import torch
from arfc._arrays import as_codes, as_ids, as_matrix, as_stages
from conftest import CODE_BYTES, DIM, clustered_rows


def test_float32_rows_are_taken_in_place(rows):
    assert as_matrix(rows) is rows


def test_a_torch_tensor_shares_its_memory(rows):
    tensor = torch.from_numpy(rows.copy())
    assert np.shares_memory(as_matrix(tensor), tensor.numpy())


def test_read_only_rows_are_taken_in_place(model, rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert as_matrix(mapped) is mapped
    np.testing.assert_array_equal(model.encode(mapped), model.encode(rows))


def test_encoding_allocates_its_codes_and_no_copy_of_the_rows(model):
    many = clustered_rows(100_000)
    model.encode(many[:10])
    tracemalloc.start()
    codes = model.encode(many, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes.nbytes <= peak < codes.nbytes + many.nbytes // 20


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float64),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x.astype(">f4"),
        lambda x: torch.from_numpy(x.copy()),
        lambda x: torch.from_numpy(x.astype(np.float64)),
        lambda x: x.tolist(),
    ],
    ids=["float64", "fortran", "strided", "big-endian", "torch", "torch-float64", "lists"],
)
def test_other_layouts_give_the_same_codes(model, rows, convert):
    np.testing.assert_array_equal(model.encode(convert(rows)), model.encode(rows))


def test_float16_rows_are_widened(model, rows):
    halves = rows.astype(np.float16)
    np.testing.assert_array_equal(model.encode(halves), model.encode(halves.astype(np.float32)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(DIM, np.float32), rf"must be a matrix \[rows, dim\]: shape \({DIM},\)"),
        (np.zeros((2, 3, DIM), np.float32), rf"must be a matrix .*: shape \(2, 3, {DIM}\)"),
        (np.ones((2, DIM), np.int64), rf"float32, float64 or float16: int64, shape \(2, {DIM}\)"),
        (np.ones((2, DIM), np.complex64), r"float32, float64 or float16: complex64"),
        (np.ones((2, DIM), object), r"float32, float64 or float16: object"),
        (np.ones((2, DIM), bool), r"float32, float64 or float16: bool"),
        ([[1.0, 2.0], [3.0]], r"cannot be read as an array"),
        (torch.ones((2, DIM), requires_grad=True), r"cannot be read as an array"),
        (torch.ones((2, DIM), dtype=torch.bfloat16), r"cannot be read as an array"),
        (None, r"must be a matrix .*: shape \(\)"),
        ("rows", r"must be a matrix .*: shape \(\)"),
        (np.ones((2, 5), np.float32), rf"width differs from the model's: 5, expected {DIM}"),
    ],
)
def test_wrong_rows_are_refused(model, value, message):
    with pytest.raises(arfc.InvalidArgumentError, match=message):
        model.encode(value)


def test_wrong_codes_are_refused(model):
    with pytest.raises(arfc.InvalidArgumentError, match=r"uint8 matrix .*: int8, shape \(2, 4\)"):
        as_codes(np.zeros((2, 4), np.int8))
    with pytest.raises(arfc.InvalidArgumentError, match=rf"17 bytes, expected \[1, {CODE_BYTES}\]"):
        model.decode(np.zeros((2, 17), np.uint8))
    with pytest.raises(arfc.InvalidArgumentError, match=r"0 bytes, expected"):
        model.decode(np.zeros((2, 0), np.uint8))


def test_ids_are_never_wrapped():
    assert as_ids([2**64 - 1], np.uint64).tolist() == [2**64 - 1]
    assert as_ids([0, 2**63], np.uint64).tolist() == [0, 2**63]
    assert as_ids((np.uint64(2**63), 1), np.uint64).tolist() == [2**63, 1]
    assert as_ids(range(3), np.int64).tolist() == [0, 1, 2]
    assert as_ids([], np.int64).shape == (0,)
    with pytest.raises(arfc.InvalidArgumentError, match=r"out of range: 0 to 18446744073709551616"):
        as_ids([0, 2**64], np.uint64)
    with pytest.raises(arfc.InvalidArgumentError, match=r"vector of integers: bool"):
        as_ids([True, False], np.int64)
    with pytest.raises(arfc.InvalidArgumentError, match=r"out of range: -1, expected \[0, "):
        as_ids([0, -1], np.uint64)
    with pytest.raises(arfc.InvalidArgumentError, match=r"out of range: 9223372036854775808"):
        as_ids(np.array([2**63], np.uint64), np.int64)
    with pytest.raises(
        arfc.InvalidArgumentError, match=r"vector of integers: float64, shape \(1,\)"
    ):
        as_ids([1.0], np.int64)
    with pytest.raises(arfc.InvalidArgumentError, match=r"3 ids, 2 rows"):
        as_ids([1, 2, 3], np.int64, rows=2)


def test_stages_name_bytes_and_limits():
    assert as_stages(None) == []
    assert as_stages([8, {"bytes": 16, "limit": 50}]) == [(8, 0), (16, 50)]
    with pytest.raises(arfc.InvalidArgumentError, match=r"A stage is .*limits"):
        as_stages([{"bytes": 8, "limits": 3}])
    with pytest.raises(arfc.InvalidArgumentError, match=r"Stages must be a sequence: 16"):
        as_stages(16)


def test_arrays_outlive_what_they_came_from(model, rows):
    codes = model.encode(rows.copy())
    again = model.encode(rows)
    references = sys.getrefcount(rows)
    model.encode(rows)
    assert sys.getrefcount(rows) == references
    np.testing.assert_array_equal(codes, again)


def test_an_answer_that_cannot_fit_is_refused(rows):
    index = arfc.index_factory(DIM, "Flat")
    index.add(rows)
    with pytest.raises(arfc.ResourceExhaustedError, match=r"1500 rows of 2147483647 float32"):
        index.search(rows, 2**31 - 1)
