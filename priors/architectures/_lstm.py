"""PyTorch's LSTM in a form that torch.export takes without a warning."""

import torch
from torch import Tensor, nn


class Lstm(nn.Module):
    """nn.LSTM's parameters and arithmetic, from a state of zeros: (n, T, F) -> the last layer's states (n, T, D).

    nn.LSTM itself keeps a second list of its parameters, about which torch.export warns.
    """

    def __init__(self, size: int, hidden: int, layers: int) -> None:
        super().__init__()
        self._layers, self._hidden = layers, hidden
        for layer in range(layers):
            for kind, width in (("ih", hidden if layer else size), ("hh", hidden)):
                self.register_parameter(f"weight_{kind}_l{layer}", nn.Parameter(torch.empty(4 * hidden, width)))
            for kind in ("ih", "hh"):
                self.register_parameter(f"bias_{kind}_l{layer}", nn.Parameter(torch.empty(4 * hidden)))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        zero = x.new_zeros(self._layers, x.shape[0], self._hidden)
        # Parameters lie in the order torch.lstm wants them: a layer's two weights, then its two biases.
        states, _, _ = torch.lstm(x, (zero, zero), list(self.parameters()), True, self._layers, 0.0, False, False, True)
        return states
