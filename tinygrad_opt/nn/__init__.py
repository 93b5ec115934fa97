"""Layers, networks made of them, losses and initialisers.

A layer is a `Module`: call it with a batch, rows are samples. Most are a function (`relu`,
`conv2d`, `layer_norm`, …) and the parameters that it needs. Raw arrays take the layer's dtype.
"""

from typing import TYPE_CHECKING

from tinygrad_opt.hints import imported_later
from tinygrad_opt.nn import init
from tinygrad_opt.nn.activations import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    activation,
    elu,
    gelu,
    identity,
    leaky_relu,
    log_softmax,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from tinygrad_opt.nn.attention import MultiHeadAttention, TransformerBlock, attention
from tinygrad_opt.nn.convolution import (
    AvgPool2d,
    Conv1d,
    Conv2d,
    MaxPool2d,
    avg_pool2d,
    conv1d,
    conv2d,
    max_pool2d,
)
from tinygrad_opt.nn.dropout import Dropout, dropout
from tinygrad_opt.nn.embedding import Embedding, embedding
from tinygrad_opt.nn.likelihoods import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    nll_loss,
)
from tinygrad_opt.nn.linear import Bilinear, Linear, bilinear, linear
from tinygrad_opt.nn.losses import (
    cosine_embedding_loss,
    hinge_loss,
    huber_loss,
    l1_loss,
    l1_penalty,
    l2_penalty,
    mse_loss,
)
from tinygrad_opt.nn.module import Module
from tinygrad_opt.nn.networks import MLP, Flatten, Sequential, flatten
from tinygrad_opt.nn.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    LayerNorm,
    RMSNorm,
    batch_norm,
    layer_norm,
    rms_norm,
)
from tinygrad_opt.nn.positions import (
    PositionalEmbedding,
    SinusoidalEmbedding,
    sinusoidal_embedding,
)
from tinygrad_opt.nn.recurrent import GRU, LSTM, RNN, gru_step, lstm_step, rnn_step

if TYPE_CHECKING:
    from tinygrad_opt.nn.blueprint import rebuild
    from tinygrad_opt.nn.stacking import Stack, stack, unstack
    from tinygrad_opt.nn.summary import Summary
    from tinygrad_opt.nn.torch_state import from_torch, to_torch

__all__ = [
    "ELU", "GELU", "GRU", "LSTM", "MLP", "RNN", "AvgPool2d", "BatchNorm1d", "BatchNorm2d",
    "Bilinear", "Conv1d", "Conv2d", "Dropout", "Embedding", "Flatten", "Identity", "LayerNorm",
    "LeakyReLU", "Linear", "LogSoftmax", "MaxPool2d", "Module", "MultiHeadAttention",
    "PositionalEmbedding", "RMSNorm", "ReLU", "Sequential", "SiLU", "Sigmoid",
    "SinusoidalEmbedding", "Softmax", "Softplus", "Stack", "Summary", "Tanh",
    "TransformerBlock", "activation", "attention", "avg_pool2d", "batch_norm", "bilinear",
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv1d", "conv2d",
    "cosine_embedding_loss", "cross_entropy", "dropout", "elu", "embedding", "flatten",
    "from_torch", "gelu", "gru_step", "hinge_loss", "huber_loss", "identity", "init", "kl_div",
    "l1_loss", "l1_penalty", "l2_penalty", "layer_norm", "leaky_relu", "linear", "log_softmax",
    "lstm_step", "max_pool2d", "mse_loss", "nll_loss", "rebuild", "relu", "rms_norm",
    "rnn_step", "sigmoid", "silu", "sinusoidal_embedding", "softmax", "softplus", "stack",
    "tanh", "to_torch", "unstack",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = imported_later(__name__, {
        "blueprint": "rebuild",
        "stacking": "Stack stack unstack",
        "summary": "Summary",
        "torch_state": "from_torch to_torch",
    })
