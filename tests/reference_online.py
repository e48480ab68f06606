"""Slow, obvious reference of the online separators: one frame and bin at a time.

It learns from a whole recording and keeps every frame of it. Everything is complex128
and nothing comes from the package. Symbols as in tests/reference.py: M microphones,
K = M sources, F bins; x (F, M) is a frame, W (F, K, M).
"""

# License: BSD-3-Clause

import numpy as np

from tests import reference

SILENCE, PEAK, FLOOR, LOADING = 1e-5, 3.0, 1e-3, 1.0
JUMP, RECENT, KEPT = 0.3, 32, 16  # of the coherence; frames
VARIANCE = {"gauss": lambda p: p, "laplace": lambda p: 2 * np.sqrt(p)}


def outer(x):
    """Products (F, M, M) of the microphones of a frame."""
    return x[:, :, None] * x[:, None].conj()


class OnlineAuxIVA:
    """Keeps all frames; those that left the ring keep the last weight they had."""

    def __init__(self, F, M, forget, inner_iter, source, spatial, lookback):
        self.forget, self.inner_iter, self.lookback = forget, inner_iter, lookback
        self.variance, self.spatial = VARIANCE[source], spatial
        self.W = np.tile(np.eye(M, dtype=complex), (F, 1, 1))
        self.frames, self.weights = [], []
        self.R = np.zeros((F, M, M), complex)  # running covariance of the microphones
        self.power = 0.0
        self.first = 0  # frame that counts

    def weight(self, power):
        """Weights (K,) of a frame from the powers (K, F) of its outputs."""
        return 1 / self.variance(np.maximum(power.mean(1), FLOOR))

    def past_weight(self, i):
        """Weights (K, 1) or (K, F) that past frame i gets now."""
        return self.weight(self.output_power(self.frames[i]))[:, None]

    def present_weight(self, x):
        return self.weight(self.output_power(x))[:, None]

    def commit(self, x):
        """Learn what is learned once per frame."""

    def follow_gain(self, gain):
        """Follow outputs whose powers were divided by a gain."""
        ones = np.ones((len(gain), self.W.shape[0]))
        factor = self.weight(ones / gain[:, None]) / self.weight(ones)
        self.weights = [w * factor[:, None] for w in self.weights]

    def output_power(self, x):
        return abs(np.einsum("fkm,fm->kf", self.W, x)) ** 2

    def frame(self, x):
        level = np.mean(abs(x) ** 2)
        if level == 0:
            return
        Z = self.memory()
        self.power = self.power or level
        limited = min(level, PEAK * self.power)
        self.power += (limited - self.power) / Z
        if limited <= SILENCE * self.power:
            return
        self.R += (limited / level * outer(x) - self.R) / Z
        self.learn(x)

    def memory(self):
        """Sum of the weights of all frames that count and one more."""
        n = len(self.frames) - self.first
        return sum(self.forget**age for age in range(n + 1))

    def jumped(self):
        """Whether the outputs of the newest frames, but loud ones, are coherent."""
        n = len(self.frames)
        if not n - self.first >= self.lookback >= 2 * RECENT:
            return False
        newest = [
            i
            for i in range(n - RECENT, n)
            if np.mean(abs(self.frames[i]) ** 2) < PEAK * self.power
        ]
        if len(newest) < RECENT / 2:
            return False
        y = np.array([np.einsum("fkm,fm->kf", self.W, self.frames[i]) for i in newest])
        coherences = []
        for k in range(y.shape[1]):
            weight = [self.forget ** (n - i) * self.weights[i][k] for i in newest]
            weight = np.broadcast_to(np.array(weight), y[:, k].shape)
            size = (weight[:, None] * abs(y) ** 2).sum(0)
            for j in range(y.shape[1]):
                if j != k:
                    cross = abs((weight * y[:, j] * y[:, k].conj()).sum(0)) ** 2
                    coherences.append(np.mean(cross / (size[j] * size[k])))
        return len(coherences) > 0 and np.mean(coherences) > JUMP

    def forget_place(self):
        self.first = len(self.frames) - KEPT
        self.R[:] = 0
        for x in self.frames[self.first :]:
            level = np.mean(abs(x) ** 2)
            self.R += min(1, PEAK * self.power / level) * outer(x) / KEPT

    def learn(self, x):
        n, (F, M) = len(self.frames), x.shape
        if n == 0:
            power = self.output_power(x).mean(1)
            self.W /= np.sqrt(np.maximum(power, FLOOR * power.max()))[:, None]
        every = min(4, self.lookback)
        filling = n < self.lookback or n - self.first <= self.lookback - every
        if filling or (n - self.lookback) % every == 0:
            for i in range(max(0, n - self.lookback), n):
                self.weights[i] = self.past_weight(i)
            if self.jumped():
                self.forget_place()
        Z = self.memory()
        past = np.zeros((M, F, M, M), complex)
        for i in range(self.first, n):
            weight = self.forget ** (n - i) * np.broadcast_to(self.weights[i], (M, F))
            past += weight[:, :, None, None] * outer(self.frames[i])
        self.frames.append(x)
        white = np.einsum("fmm->f", self.R).real / M
        white = white + 1e-10 * (self.power + np.mean(abs(x) ** 2))
        mean_weight = self.weight(np.ones((M, F)))
        for _ in range(self.inner_iter):
            weight = self.present_weight(x)
            weight = np.broadcast_to(weight, (M, F))
            for f in range(F):
                V = [
                    past[k, f]
                    + weight[k, f] * np.outer(x[f], x[f].conj())
                    + LOADING * mean_weight[k] * white[f] * np.eye(M)
                    for k in range(M)
                ]
                reference.sweep(self.W[f], np.array(V) / (Z + LOADING), self.spatial)
        self.commit(x)
        self.weights.append(self.past_weight(n))
        excess = np.clip(self.output_power(x).mean(1), FLOOR, PEAK) - 1
        gain = 1 + excess / (Z + 2 * LOADING)
        self.W /= np.sqrt(gain)[:, None]
        self.follow_gain(gain)

    def mixing(self):
        """Least-squares mixing matrices (F, M, K)."""
        A = self.R @ self.W.conj().transpose(0, 2, 1)
        return A / np.einsum("fkm,fmk->fk", self.W, A).real[:, None]


class OnlineILRMA(OnlineAuxIVA):
    """Weights are a geometric mean of AuxIVA's and those of a factorization."""

    def __init__(
        self, basis, forget, inner_iter, spatial, lookback, blend, basis_forget
    ):
        M, F, _ = basis.shape
        super().__init__(F, M, forget, inner_iter, "gauss", spatial, lookback)
        self.blend, self.basis_forget = blend, basis_forget
        self.B = basis.copy()
        self.numerator, self.denominator = basis.copy(), 1 / basis
        self.spectral_weights = []

    def learn(self, x):
        seen = (len(self.frames) + 1) * (1 - self.basis_forget)
        self.share = self.blend * min(1, 2 * seen)
        self.h = None
        super().learn(x)

    def past_weight(self, i):
        power = self.output_power(self.frames[i])
        loudness = np.maximum(power.mean(1), FLOOR) ** (self.share - 1)
        return loudness[:, None] * self.spectral_weights[i]

    def present_weight(self, x):
        power = self.output_power(x)
        mean = np.maximum(power.mean(1), FLOOR)
        if self.h is None:
            L = self.B.shape[2]
            self.h = np.tile(mean[:, None] / L, (1, L))
        self.fit_activations(power)
        variance = np.einsum("kfl,kl->kf", self.B, self.h)
        self.spectral = np.maximum(variance, 0.01 * mean[:, None]) ** -self.share
        return mean[:, None] ** (self.share - 1) * self.spectral

    def fit_activations(self, power):
        for _ in range(2):
            for k, B in enumerate(self.B):
                m = np.maximum(B @ self.h[k], 0.01)
                self.h[k] *= np.sqrt(B.T @ (power[k] / m**2) / (B.T @ (1 / m)))
                self.h[k] = np.maximum(self.h[k], 1e-5)

    def commit(self, x):
        self.spectral_weights.append(self.spectral)
        power = self.output_power(x)
        self.fit_activations(power)
        for k, B in enumerate(self.B):
            m = np.maximum(B @ self.h[k], 0.01)
            self.numerator[k] *= self.basis_forget
            self.denominator[k] *= self.basis_forget
            self.numerator[k] += B**2 * np.outer(power[k] / m**2, self.h[k])
            self.denominator[k] += np.outer(1 / m, self.h[k])
            B = np.sqrt(self.numerator[k] / self.denominator[k])
            size = B.mean(0)
            self.B[k] = np.maximum(B / size, 1e-3)
            self.numerator[k] /= size
            self.denominator[k] *= size

    def follow_gain(self, gain):
        self.weights = [w * gain[:, None] for w in self.weights]
        share = gain[:, None] ** self.share
        self.spectral_weights = [w * share for w in self.spectral_weights]
