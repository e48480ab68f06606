"""Block-batch separation."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from skbss import ILRMA, ISTFT, STFT, AuxIVA, BlockBatch, ProjectionBack
from skbss.datasets import make_convolutive_mixture
from skbss.metrics import si_sdr_improvement
from skbss.separators.block_batch import align


@pytest.fixture(scope="module")
def recording():
    return make_convolutive_mixture(96000, rt60=0.05, random_state=0)


def _pipe(separator):
    return make_pipeline(STFT(n_fft=1024), separator, ProjectionBack(), ISTFT())


@pytest.mark.parametrize("batch", [AuxIVA(max_iter=20), ILRMA(random_state=0)])
def test_separates_in_one_order_throughout(recording, batch):
    x, y = recording
    pipe = _pipe(BlockBatch(batch, block_size=120, overlap=30))
    separated = pipe.fit_transform(x)
    assert pipe[1].n_blocks_ == 3
    # One permutation for the whole: outputs that swap between blocks would score low.
    assert si_sdr_improvement(y, separated, x).min() > 6


def test_one_block_is_the_batch_separator(recording):
    x, _ = recording
    batch = _pipe(AuxIVA(max_iter=5)).fit_transform(x)
    blocks = _pipe(BlockBatch(AuxIVA(max_iter=5), block_size=10_000)).fit_transform(x)
    # The same matrices on another scale: rounding is all that differs.
    np.testing.assert_allclose(blocks, batch, rtol=0, atol=1e-10 * abs(x).max())


@pytest.mark.parametrize("n_frames", [1, 19, 20, 21, 35, 36, 37, 80])
@pytest.mark.parametrize("overlap", [0, 4, 10])
def test_every_frame_is_separated_once(n_frames, overlap):
    rng = np.random.default_rng(n_frames)
    shape = n_frames, 5, 2
    X = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    separator = BlockBatch(AuxIVA(max_iter=2), block_size=20, overlap=overlap)
    covered = np.zeros(n_frames, dtype=int)
    separator._check_X(X, reset=True)
    for frames, W, A in separator._blocks(X):
        covered[frames] += 1
        assert len(W) == len(A)
        assert len(W) in (1, frames.stop - frames.start)
    assert (covered == 1).all()


def test_the_mixing_matrices_lead_back_to_the_microphones(recording):
    x, _ = recording
    S = STFT(n_fft=1024).fit_transform(x)
    Y = BlockBatch(AuxIVA(max_iter=5), block_size=60, overlap=20).fit_transform(S)
    # One matrix for each frame of a cross-fade, and one for each block between.
    n_blocks = (len(S) - 20) // 40
    assert Y.mixing.shape == (20 * (n_blocks - 1) + n_blocks, *S.shape[1:], 2)
    back = (Y.mixing_of(slice(None)) @ Y.data[..., None])[..., 0]
    # Relative to the largest coefficient; interpolated matrices are well conditioned.
    np.testing.assert_allclose(back, S.data, rtol=0, atol=1e-9 * abs(S.data).max())


def test_transform_applies_the_last_block(recording):
    x, _ = recording
    S = STFT(n_fft=1024).fit_transform(x)
    separator = BlockBatch(AuxIVA(max_iter=5), block_size=60, overlap=20)
    Y = separator.fit_transform(S)
    later = clone(separator).fit(S).transform(S)
    # The last 60 frames belong to the last block alone but for the cross-fade.
    np.testing.assert_allclose(later.data[-30:], Y.data[-30:], rtol=1e-9)


def test_align_finds_a_permutation():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 7, 3)) + 1j * rng.normal(size=(40, 7, 3))
    W = rng.normal(size=(7, 3, 3)) + 1j * rng.normal(size=(7, 3, 3))
    order = np.array([2, 0, 1])
    scale = np.exp(1j * rng.uniform(0, 6, size=(7, 3, 1)))
    np.testing.assert_array_equal(order[align(W, (scale * W)[:, order], X)], [0, 1, 2])


def test_overlap_of_more_than_half_a_block_is_refused():
    X = np.ones((30, 3, 2), dtype=complex)
    with pytest.raises(ValueError, match="overlap=11, expected at most half of"):
        BlockBatch(AuxIVA(), block_size=20, overlap=11).fit(X)
