"""Layers that cannot be trained with per-example clipping, or not reproducibly."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.utils.parametrizations import _SpectralNorm

from canaries.errors import InputError


def refuse(name: str, layer: nn.Module) -> None:
    """Raise for a layer that must not be trained here.

    Raises:
        InputError: naming the layer, where it mixes the examples of a batch, keeps statistics of them, draws random
            numbers that would tie a model's result to its neighbours, or cannot be run at all.
    """
    said = f"Layer '{name}' ({type(layer).__name__})"
    if isinstance(layer, _BatchNorm):
        raise InputError(
            f"{said} mixes the examples of a batch, so no example has a gradient of its own: use GroupNorm."
        )
    if isinstance(layer, _NormBase) and layer.track_running_stats:
        raise InputError(f"{said} keeps statistics of the training data outside the privatised gradients.")
    if isinstance(layer, _SpectralNorm):
        raise InputError(f"{said} keeps a state from pass to pass, which models would share: use weight_norm.")
    if isinstance(layer, nn.RNNBase) and layer.proj_size:
        raise InputError(f"{said} has no rule, and vmap(grad) cannot run it: set its proj_size to 0.")
    if isinstance(layer, nn.RReLU) and layer.lower < layer.upper:
        raise InputError(f"{said} draws random numbers shared between models: use LeakyReLU or PReLU.")
    dropout = getattr(layer, "p", 0.0) if isinstance(layer, nn.modules.dropout._DropoutNd) else 0.0
    inner = getattr(layer, "dropout", 0.0) if isinstance(layer, nn.RNNBase | nn.MultiheadAttention) else 0.0
    if max(float(dropout), float(inner)) > 0:
        raise InputError(f"{said} draws random numbers shared between models: set its dropout to 0.")
