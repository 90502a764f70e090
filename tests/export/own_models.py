"""Models as users write them: sound ones, and others that are each wrong in one way."""

from typing import Any

import torch
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.signature import CacheEntry
from ancestral.train.likelihoods.categorical import Bernoulli
from ancestral.train.likelihoods.observation import Independent
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.posteriors import Diagonal
from ancestral.train.models.priors import Prior, StandardNormal

DATA = DataSpec(name="walks", event_shape=(6,), levels=5)
LAST = 3
Cache = dict[str, Tensor]
functional = nn.functional


class Sound(AutoregressiveModel):
    """A model of p(x_t | the last 3 values), with a cache of these values."""

    takes_blocks = False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.data = DATA
        self.value = nn.Embedding(DATA.levels + 1, 8)
        self.hidden = nn.Linear(LAST * 8, 16)
        self.output = nn.Linear(16, DATA.levels)

    @property
    def cache_spec(self) -> Any:
        return (CacheEntry(name="window", dtype="int64", axes=("b", LAST)),)

    def predict(self, x: Tensor, label: Tensor | None) -> Any:
        t = x.shape[1]
        past = functional.pad(x, (LAST, 0), value=DATA.levels)
        return self.network(torch.stack([past[:, i : i + t] for i in range(LAST)], dim=2))

    def extend(self, tokens: Tensor, position: Tensor, cache: Any, label: Tensor | None) -> Any:
        window = torch.cat([cache["window"][:, 1:], tokens], dim=1)
        window = torch.where((position == 0)[:, None], DATA.levels, window)
        return self.network(window[:, None]), {"window": window}

    def network(self, windows: Tensor) -> Tensor:
        return self.output(self.after(self.hidden(self.value(windows).flatten(2)).relu()))

    def after(self, h: Tensor) -> Tensor:
        """Return `h`; the models below override this method."""
        return h


class WholeEvents(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        places = torch.arange(DATA.length)
        assert x.shape[1] == len(places), "all of them"
        return super().predict(x, label)


class PaddedPrefix(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        t = x.shape[1]
        if t < DATA.length:
            x = functional.pad(x, (0, DATA.length - t))
        return super().predict(x, label)[:, :t]


class LoopOverPositions(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        parts = [super(LoopOverPositions, self).predict(x, label)[:, i] for i in range(x.shape[1])]
        return torch.stack(parts, dim=1)


class LoopOverRows(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        rows = [super(LoopOverRows, self).predict(row[None], label) for row in x]
        return torch.cat(rows)


class RowsInExtend(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        ones = torch.stack([position[i] for i in range(len(tokens))])
        return super().extend(tokens, ones, cache, label)


class OtherPrefix(Sound):
    """The parameters depend on the length of the prefix."""

    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        back = DATA.length - x.shape[1]
        return super().predict(x, label) + back * self.output.bias


class OneValueOnly(Sound):
    takes_blocks = True


class IfOnValues(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        if x.sum() > 1000:
            return super().predict(x, label) * 2
        return super().predict(x, label)


class ReadsNumbers(Sound):
    def after(self, h: Tensor) -> Tensor:
        return h * torch.from_numpy(h.detach().numpy()).sign().to(h.dtype)


class MaskAsIndex(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        return super().predict(x, label) + 0 * x[x > 9].sum()


class SizeOfValues(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        return super().predict(x, label) + len((x > 9).nonzero())


class NoForm(Sound):
    def after(self, h: Tensor) -> Tensor:
        return torch.special.bessel_j0(h)


class CountsCalls(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def after(self, h: Tensor) -> Tensor:
        self.calls += 1
        return h


class HiddenState(Sound):
    cache_spec = ()  # type: ignore[assignment]

    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        before = self.__dict__.get("window", torch.full((len(tokens), LAST), DATA.levels))
        self.window = torch.cat([before[:, 1:], tokens], dim=1)
        return self.network(self.window[:, None]), {}


class Dropout(Sound):
    def after(self, h: Tensor) -> Tensor:
        return functional.dropout(h, 0.5)


class DropoutInExtend(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        parameters, new = super().extend(tokens, position, cache, label)
        return functional.dropout(parameters, 0.5), new


class AlwaysTrains(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> Any:
        return super().train(True)


class NotDeclared(Sound):
    cache_spec = ()  # type: ignore[assignment]


class NotReturned(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        return super().extend(tokens, position, cache, label)[0], {}


class OtherShape(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        parameters, new = super().extend(tokens, position, cache, label)
        return parameters, {"window": new["window"][:, 1:]}


class OtherType(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        parameters, new = super().extend(tokens, position, cache, label)
        return parameters, {"window": new["window"].int()}


class TakenName(Sound):
    cache_spec = (CacheEntry(name="values", dtype="int64", axes=("b", LAST)),)  # type: ignore[assignment]


class NoRows(Sound):
    cache_spec = (CacheEntry(name="window", dtype="int64", axes=(LAST,)),)  # type: ignore[assignment]


class Method(Sound):
    def cache_spec(self) -> Any:  # type: ignore[override]
        return (CacheEntry(name="window", dtype="int64", axes=("b", LAST)),)


class Meta(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(2, 2, device="meta")


class Complex(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.phase = nn.Parameter(torch.ones(16, dtype=torch.complex64))

    def after(self, h: Tensor) -> Tensor:
        return (h * self.phase).real


class Float64(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16, dtype=torch.float64))

    def after(self, h: Tensor) -> Tensor:
        return h * self.scale


class NonLeaf(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.doubled = self.output.weight * 2


class Constant(Sound):
    def after(self, h: Tensor) -> Tensor:
        return h @ torch.eye(16)


class PlainAttribute(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.randn(16, 2000), torch.randn(2000, 16)

    def after(self, h: Tensor) -> Tensor:
        return (h @ self.up.to(h.dtype)).tanh() @ self.down.to(h.dtype)


class IgnoresPosition(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        window = torch.cat([cache["window"][:, 1:], tokens], dim=1)
        return self.network(window[:, None]), {"window": window}


class FirstRowsPosition(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        return super().extend(tokens, position[:1].expand(len(tokens)), cache, label)


class Late(Sound):
    """`extend` returns parameters of another window than those of `predict`."""

    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        _, new = super().extend(tokens, position, cache, label)
        return self.network(new["window"].roll(1, dims=1)[:, None]), new


class Leaks(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        return super().predict(torch.cat([x[:, 1:], x[:, -1:]], 1), label)


class WritesIntoX(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        x[:, 0] = 0
        return super().predict(x, label)


class WritesIntoCache(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        result = super().extend(tokens, position, cache, label)
        cache["window"][:, 0] = tokens[:, 0]
        return result


class Transposed(Sound):
    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        return super().predict(x, label).transpose(1, 2)


class NoPair(Sound):
    def extend(self, tokens: Tensor, position: Tensor, cache: Cache, label: Tensor | None) -> Any:
        return super().extend(tokens, position, cache, label)[0]


class NoStart(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Embedding(DATA.levels, 8)


class NotANumber(Sound):
    def after(self, h: Tensor) -> Tensor:
        return h * torch.nan


class NoData(Sound):
    def __init__(self) -> None:
        super().__init__()
        del self.data


class MakesATableOnce(Sound):
    """A sound model whose first call adds an attribute, which then stays."""

    def after(self, h: Tensor) -> Tensor:
        if "table" not in self.__dict__:
            self.table = torch.ones(16)
        return h * self.table.to(h.dtype)


class RecurrentLayer(Sound):
    cache_spec = (CacheEntry(name="h", dtype="float32", axes=("b", 8)),)  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.GRU(8, 8, batch_first=True), nn.Linear(8, DATA.levels)

    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        before = functional.pad(x, (1, 0), value=DATA.levels)[:, :-1]
        return self.last(self.layer(self.value(before))[0])

    def extend(self, tokens: Tensor, position: Tensor, cache: Any, label: Tensor | None) -> Any:
        fresh = (position == 0)[:, None]
        tokens = torch.where(fresh, DATA.levels, tokens)
        h = torch.where(fresh, 0.0, cache["h"])
        y, h = self.layer(self.value(tokens), h[None])
        return self.last(y), {"h": h[0]}


class SoundVAE(LatentVariableModel):
    """A sound, linear variational autoencoder of bits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.data, self.latent_shape = DataSpec(name="bits", event_shape=(6,), levels=2), (2,)
        self.posterior = Diagonal(self.latent_shape)
        self.observation = Independent(Bernoulli(), 6)
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    @property
    def prior(self) -> Prior:
        return StandardNormal()

    def encode(self, x: Tensor) -> Any:
        return self.posterior.from_features(self.encoder(x.to(self.encoder.weight.dtype)))

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)[..., None]


class DrawsItsLatents(SoundVAE):
    def encode(self, x: Tensor) -> Any:
        mean, log_scale = super().encode(x)
        return mean + torch.randn_like(mean), log_scale


class NumbersOnly(SoundVAE):
    def encode(self, x: Tensor) -> Any:
        return self.encoder(x.to(self.encoder.weight.dtype))


class NoLastAxis(SoundVAE):
    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


class EncodesFloat(SoundVAE):
    def encode(self, x: Tensor) -> Any:
        return self.posterior.from_features(self.encoder(x.float()))


class NoObservation(SoundVAE):
    def __init__(self) -> None:
        super().__init__()
        del self.observation


class IfOnLatents(SoundVAE):
    def decode(self, z: Tensor) -> Tensor:
        if z.sum() > 1000:
            return super().decode(z) * 2
        return super().decode(z)
