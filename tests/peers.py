"""The separators of independent packages, and of this one, behind one signature.

Every function takes X (T, F, M), starts from identity demixing matrices and, for
ILRMA, from the given basis (K, F, L) and activations (K, L, T), and returns the
demixing matrices (F, K, M) as the package leaves them, without projection back.
Packages are imported when called, so that a missing one fails where it is needed.
"""

# License: BSD-3-Clause

from unittest.mock import patch

import numpy as np


def pyroomacoustics_auxiva(X, n_iter, source="gauss", spatial="ip1"):
    from pyroomacoustics.bss import auxiva

    _only_ip1("pyroomacoustics", spatial)
    _, W = auxiva(X, n_iter=n_iter, model=source, proj_back=False, return_filters=True)
    return W


def pyroomacoustics_overiva(X, n_iter, n_sources, source="gauss"):
    """Return its outputs Y (T, F, n_sources), least squares to microphone 0."""
    from pyroomacoustics.bss import auxiva

    # From principal components: its own `init_eig` expects square matrices, and from
    # the first microphones it loses up to 10 dB on clean scenes.
    x = X.transpose(1, 2, 0)
    _, E = np.linalg.eigh(x @ x.conj().swapaxes(1, 2))
    start = E[:, :, ::-1][:, :, :n_sources].conj().swapaxes(1, 2)
    return auxiva(X, n_src=n_sources, n_iter=n_iter, model=source, W0=start)


def pyroomacoustics_ilrma_outputs(X, n_iter, basis, activations, W0=None):
    """Return its outputs Y (T, F, K) and the W that it returns with them."""
    from pyroomacoustics.bss import ilrma

    # It draws both factors as 0.1 + 0.9 * rand(...) and takes none from outside.
    draws = [(basis - 0.1) / 0.9, (activations.swapaxes(1, 2) - 0.1) / 0.9]
    with patch("numpy.random.rand", side_effect=draws):
        return ilrma(
            X,
            n_iter=n_iter,
            n_components=basis.shape[-1],
            W0=W0,
            proj_back=False,
            return_filters=True,
        )


def pyroomacoustics_ilrma(X, n_iter, basis, activations, update="mm", spatial="ip1"):
    _only_ip1("pyroomacoustics", spatial)
    if update != "mm":
        raise NotImplementedError(f"pyroomacoustics has no update={update!r}.")
    return pyroomacoustics_ilrma_outputs(X, n_iter, basis, activations)[1]


def nara_wpe(X, taps, delay, n_iter):
    """Return the dereverberated microphones Y (T, F, M)."""
    from nara_wpe.wpe import wpe

    Y = wpe(X.transpose(1, 2, 0), taps=taps, delay=delay, iterations=n_iter)
    return Y.transpose(2, 0, 1)


def oobss_auxiva(X, n_iter, source="gauss", spatial="ip1"):
    from oobss import AuxIVA
    from oobss.separators.strategies import AuxSourceStrategy, RuleSpatialStrategy

    separator = AuxIVA(
        X,
        source=AuxSourceStrategy(source.capitalize()),
        spatial=RuleSpatialStrategy(spatial.upper()),
    )
    separator.run(n_iter)
    return separator.demix_filter


def make_oobss_ilrma(X, basis, activations, spatial="ip1"):
    from oobss import ILRMA
    from oobss.separators.strategies import RuleSpatialStrategy

    return ILRMA(
        X,
        n_basis=basis.shape[-1],
        basis0=basis.copy(),
        activ0=activations.swapaxes(1, 2).copy(),
        spatial=RuleSpatialStrategy(spatial.upper()),
    )


def oobss_ilrma(X, n_iter, basis, activations, update="me", spatial="ip1"):
    if update != "me":
        raise NotImplementedError(f"oobss has no update={update!r}.")
    separator = make_oobss_ilrma(X, basis, activations, spatial)
    separator.run(n_iter)
    return separator.demix_filter


def make_ssspy_auxiva(source="gauss", spatial="ip1", record_loss=False):
    from ssspy.bss.iva import AuxGaussIVA, AuxLaplaceIVA
    from ssspy.utils.select_pair import combination_pair_selector

    return {"gauss": AuxGaussIVA, "laplace": AuxLaplaceIVA}[source](
        spatial_algorithm=spatial.upper(),
        pair_selector=combination_pair_selector,
        scale_restoration=False,
        record_loss=record_loss,
    )


def ssspy_auxiva(X, n_iter, source="gauss", spatial="ip1"):
    separator = make_ssspy_auxiva(source, spatial)
    # Its Laplace cost is 2 ||y||: on half the input it is ||y||.
    x = X.transpose(2, 1, 0) * {"gauss": 1, "laplace": 0.5}[source]
    return _ssspy_demixing(separator, separator(x, n_iter=n_iter))


def make_ssspy_ilrma(n_basis, update="mm", spatial="ip1", normalized=True, loss=False):
    from ssspy.bss.ilrma import GaussILRMA
    from ssspy.utils.select_pair import combination_pair_selector

    return GaussILRMA(
        n_basis=n_basis,
        spatial_algorithm=spatial.upper(),
        source_algorithm=update.upper(),
        pair_selector=combination_pair_selector,
        normalization=normalized,
        scale_restoration=False,
        record_loss=loss,
    )


def ssspy_ilrma(
    X, n_iter, basis, activations, update="mm", spatial="ip1", normalized=True
):
    separator = make_ssspy_ilrma(basis.shape[-1], update, spatial, normalized)
    x = X.transpose(2, 1, 0)
    Y = separator(x, n_iter=n_iter, basis=basis, activation=activations)
    return _ssspy_demixing(separator, Y)


def skbss_auxiva(X, n_iter, source="gauss", spatial="ip1"):
    from skbss.separators import AuxIVA

    # Its Laplace cost is of the mean power, that of peers of the sum: other scales.
    gain = np.sqrt(X.shape[1]) if source == "laplace" else 1.0
    eye = np.tile(np.eye(X.shape[2]), (X.shape[1], 1, 1))
    separator = AuxIVA(source, spatial=spatial, max_iter=n_iter, init=eye / gain)
    return separator.fit(X).demixing_ * gain


class Draws(np.random.RandomState):
    """Gives arrays where it is asked for random ones."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = list(arrays)

    def uniform(self, low, high, size):
        assert self.arrays[0].shape == size
        return self.arrays.pop(0)


def fit_skbss_ilrma(
    X, n_iter, basis, activations, update="mm", spatial="ip1", **params
):
    from skbss.separators import ILRMA

    return ILRMA(
        basis.shape[-1],
        update=update,
        spatial=spatial,
        init="identity",
        max_iter=n_iter,
        random_state=Draws(basis, activations),
        **params,
    ).fit(X)


def skbss_ilrma(X, n_iter, basis, activations, update="mm", spatial="ip1"):
    return fit_skbss_ilrma(X, n_iter, basis, activations, update, spatial).demixing_


def least_squares_demixing(Y, X):
    """Return W (F, K, M) that brings W X nearest to Y; Y and X (T, F, channels)."""
    return np.array([np.linalg.lstsq(X[:, f], Y[:, f])[0].T for f in range(X.shape[1])])


def _ssspy_demixing(separator, Y):
    # With source steering it keeps only the outputs.
    if separator.demix_filter is not None:
        return separator.demix_filter
    return least_squares_demixing(Y.T, separator.input.T)


def _only_ip1(package, spatial):
    if spatial != "ip1":
        raise NotImplementedError(f"{package} has no spatial={spatial!r}.")


def _ssspy_heavy_tailed(name, n_basis, **params):
    import ssspy.bss.ilrma

    return getattr(ssspy.bss.ilrma, name)(
        n_basis=n_basis,
        spatial_algorithm="IP1",
        source_algorithm="MM",
        normalization=False,
        scale_restoration=False,
        record_loss=True,
        **params,
    )


def ssspy_tilrma(X, n_iter, basis, activations, dof):
    """Return its demixing matrices and losses, at the start and after each."""
    separator = _ssspy_heavy_tailed("TILRMA", basis.shape[-1], dof=dof)
    x = X.transpose(2, 1, 0)
    separator(x, n_iter=n_iter, basis=basis.copy(), activation=activations.copy())
    return separator.demix_filter, np.array(separator.loss)


def ssspy_ggdilrma(X, n_iter, basis, activations, shape):
    """Return its demixing matrices and losses, at the start and after each."""
    separator = _ssspy_heavy_tailed("GGDILRMA", basis.shape[-1], beta=shape)
    x = X.transpose(2, 1, 0)
    separator(x, n_iter=n_iter, basis=basis.copy(), activation=activations.copy())
    return separator.demix_filter, np.array(separator.loss)


def ssspy_ggdilrma_loss(X, demixing, basis, activations, shape):
    """Return what its loss is for given demixing matrices and factors."""
    separator = _ssspy_heavy_tailed("GGDILRMA", basis.shape[-1], beta=shape)
    separator.input, separator.demix_filter = X.transpose(2, 1, 0), demixing
    separator.basis, separator.activation = basis, activations
    return separator.compute_loss()
