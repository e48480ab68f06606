"""Slow, obvious reference of the online separators: one frame, bin and source at a time.

It learns from a whole recording and keeps every frame of it. Everything is complex128
and nothing comes from the package. Symbols as in tests/reference.py: M microphones,
K = M sources, F bins; x (F, M) is a frame, W (F, K, M).
"""

# License: BSD-3-Clause

import numpy as np

from tests import reference

SILENCE, PEAK, FLOOR, LOADING = 1e-5, 100.0, 1e-3, 1.0
VARIANCE = {"gauss": lambda p, F: p / F, "laplace": lambda p, F: 2 * np.sqrt(p)}


class OnlineAuxIVA:
    """Keeps all frames; those that left the ring keep the last weight they had."""

    def __init__(self, F, M, forget, inner_iter, source, spatial, lookback):
        self.forget, self.inner_iter, self.lookback = forget, inner_iter, lookback
        self.variance, self.spatial = VARIANCE[source], spatial
        self.W = np.tile(np.eye(M, dtype=complex), (F, 1, 1))
        self.frames, self.weights, self.R_weights = [], [], []
        self.power = 0.0

    def weight(self, power):
        """Weights (K,) of a frame from the powers (K, F) of its outputs."""
        F = power.shape[1]
        return 1 / self.variance(np.maximum(power.sum(1), FLOOR * F), F)

    def output_power(self, x):
        return abs(np.einsum("fkm,fm->kf", self.W, x)) ** 2

    def frame(self, x):
        level = np.mean(abs(x) ** 2)
        if level == 0:
            return
        n = len(self.frames)
        Z = sum(self.forget**age for age in range(n + 1))
        self.power = self.power or level
        limited = min(level, PEAK * self.power)
        self.power += (limited - self.power) / Z
        if limited <= SILENCE * self.power:
            return
        self.R_weights.append(limited / level)
        self.learn(x, Z)

    def covariance(self):
        """Running covariance (F, M, M) of the microphones."""
        n = len(self.frames)
        ages = self.forget ** np.arange(n)[::-1]
        X = np.array(self.frames)
        return np.einsum("t,tfm,tfn->fmn", ages * self.R_weights, X, X.conj()) / sum(
            ages
        )

    def learn(self, x, Z):
        n, (F, M) = len(self.frames), x.shape
        if n == 0:
            power = self.output_power(x).mean(1)
            self.W /= np.sqrt(np.maximum(power, FLOOR * power.max()))[:, None]
        for i in range(max(0, n - self.lookback), n):
            self.weights[i] = self.weight(self.output_power(self.frames[i]))
        past = np.zeros((M, F, M, M), complex)
        for i in range(n):
            for f in range(F):
                outer = np.outer(self.frames[i][f], self.frames[i][f].conj())
                for k in range(M):
                    past[k, f] += self.forget ** (n - i) * self.weights[i][k] * outer
        self.frames.append(x)
        white = np.einsum("fmm->f", self.covariance()).real / M
        white = white + 1e-10 * (white.mean() + np.mean(abs(x) ** 2))
        mean_weight = self.weight(np.ones((M, F)))
        for _ in range(self.inner_iter):
            phi = self.weight(self.output_power(x))
            for f in range(F):
                outer = np.outer(x[f], x[f].conj())
                V = [
                    past[k, f]
                    + phi[k] * outer
                    + LOADING * mean_weight[k] * white[f] * np.eye(M)
                    for k in range(M)
                ]
                reference.sweep(self.W[f], np.array(V) / (Z + LOADING), self.spatial)
        excess = np.clip(self.output_power(x).mean(1), FLOOR, PEAK) - 1
        gain = 1 + excess / (Z + 2 * LOADING)
        self.W /= np.sqrt(gain)[:, None]
        ones = np.ones((M, F))
        factor = self.weight(ones / gain[:, None]) / self.weight(ones)
        self.weights.append(phi)
        self.weights = [w * factor for w in self.weights]

    def mixing(self):
        """Least-squares mixing matrices (F, M, K)."""
        R = self.covariance()
        A = R @ self.W.conj().transpose(0, 2, 1)
        return A / np.einsum("fkm,fmk->fk", self.W, A).real[:, None]
