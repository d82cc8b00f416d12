"""The prototype of benchmarks/ begins where the model is: by the same beam, with the same codes."""

import argparse
import pathlib
import sys

import arfc
import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))

from mixture_of_solutions import Configuration, Mixture, Sets, opened  # noqa: E402
from solutions import Judge, hypotheses, searched  # noqa: E402

DIM, TOKENS, ROWS = 32, 4, 2400


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(5)
    centres = random.normal(size=(60, DIM))
    found = centres[random.integers(0, 60, ROWS + 300)] + random.normal(size=(ROWS + 300, DIM))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def sets(rows, tmp_path_factory):
    args = argparse.Namespace(
        models=tmp_path_factory.mktemp("models"), bytes=TOKENS, model_rows=None
    )
    return Sets([opened(rows[:ROWS], seed, args) for seed in (0, 1)]), args


def test_the_beam_is_the_models(rows, sets):
    found, args = sets
    model = arfc.Compressor.load(args.models / f"{ROWS}-{TOKENS}-0")
    asked = torch.from_numpy(rows[ROWS:])
    codes, costs = hypotheses(found.first, asked, 16, 16)
    # Sums of floats in another order may tell near ties otherwise.
    assert np.mean((codes[:, 0].numpy() == model.encode(rows[ROWS:])).all(1)) > 0.98
    assert (costs.diff(dim=1) >= 0).all()
    assert all(len(code.unique(dim=0)) == 16 for code in codes)
    better = searched(found.first, asked, codes[:, 0], sweeps=3)
    assert not better.equal(codes[:, 0])
    judge = Judge.of(found.first, asked)

    def cost(code):
        symbols = found.first.symbols
        others = found.first.mean + symbols[torch.arange(TOKENS - 1), code[:, :-1]].sum(1)
        return judge.costs(others[:, None], symbols[-1])[:, 0].gather(1, code[:, -1:])[:, 0]

    assert torch.allclose(cost(codes[:, 0]), costs[:, 0], atol=1e-5)
    assert (cost(better) < cost(codes[:, 0]) + 1e-5).all()


@pytest.mark.parametrize("text", ["choose:4:8", "refine:4:8", "refine-sets:3:8"])
def test_a_network_begins_with_the_models_codes(rows, sets, text):
    configuration = Configuration.of(text, 2)
    asked = torch.from_numpy(rows[ROWS:])
    some = sets[0].solutions(asked, configuration.solutions, configuration.others)
    torch.manual_seed(0)
    network = Mixture(sets[0], configuration)
    assert network.codes(some).equal(some.codes[:, 0])

    torch.nn.init.normal_(network.last.weight, std=3.0)
    codes = network.codes(some)
    changed = (codes != some.codes[:, 0]).any(1).float().mean()
    assert changed > 0.1, "it can choose other codes"
    alone = torch.cat([network.codes(some[slice(i, i + 1)]) for i in range(100)])
    assert (alone == codes[:100]).all(1).float().mean() > 0.98, "whatever the batch"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("choose:4", "not enough values"),
        ("guess:4:8", "head is not known: guess"),
        ("choose:4:wide", "invalid literal"),
        ("choose:17:8", "beam of 16"),
        ("choose:4:6", "width of 4 heads"),
        ("choose-sets:4:8", "refined, none is a code of the first"),
        ("refine-sets:1:8", "beam of 16"),
    ],
)
def test_a_wrong_configuration_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Configuration.of(text, 2)
