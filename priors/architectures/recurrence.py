"""PyTorch's LSTM, one layer, in a form that torch.export takes and that a difference to its weights can be made for."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Gates(nn.Module):
    """The weight and the bias of one product inside a recurrence: forward() -> both.

    A module of its own as a linear layer is, so that a delta can change it (`composer.delta`): `torch.lstm` computes
    the product itself, from what this gives.
    """

    def __init__(self, inputs: int, outputs: int, bound: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.weight, self.bias


class LstmLayer(nn.Module):
    """The arithmetic of nn.LSTM with one layer, from a state of zeros: (n, T, F) -> its states (n, T, D).

    `ih` reads the input, `hh` the state before; rows are the input, forget, cell and output gates, D each. nn.LSTM
    itself keeps a second list of its parameters, about which torch.export warns.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        bound = hidden**-0.5
        self.ih, self.hh = Gates(size, 4 * hidden, bound), Gates(hidden, 4 * hidden, bound)
        self._hidden = hidden

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return self._scanned(x)
        if x.is_meta:  # which only tell shapes: torch goes through them step by step, in Python
            return x.new_empty(*x.shape[:2], self._hidden)
        (ih, ih_bias), (hh, hh_bias) = self.ih(), self.hh()
        zero = x.new_zeros(1, x.shape[0], self._hidden)
        learns = torch.is_grad_enabled()  # a recurrence that was not told so keeps nothing to go back by
        weights = [ih, hh, ih_bias, hh_bias]
        states, _, _ = torch.lstm(x, (zero, zero), weights, True, 1, 0.0, learns, False, True)
        return states

    def _scanned(self, x: Tensor) -> Tensor:
        """The same as one step and how often it is repeated, which stays free: torch.export writes `torch.lstm` out for
        the length of its example."""
        # The operator and not the function around it, which compiles each time and keeps what it compiled: the sizes of
        # a model exported before would then be asked of this one's, which are free. Imported here: it takes half a
        # second.
        from torch._higher_order_ops.scan import scan_op

        (ih, ih_bias), (hh, hh_bias) = self.ih(), self.hh()

        def step(state: Tensor, cell: Tensor, given: Tensor, hh: Tensor) -> list[Tensor]:
            enters, forgets, content, leaves = (given + linear(state, hh)).chunk(4, 1)
            cell = forgets.sigmoid() * cell + enters.sigmoid() * content.tanh()
            state = leaves.sigmoid() * cell.tanh()
            return [state, cell, state.clone()]  # what is carried and what is kept may not share memory

        zero = x.new_zeros(x.shape[0], self._hidden)
        given = linear(x, ih, ih_bias + hh_bias).transpose(0, 1)
        *_, states = scan_op(step, [zero, zero.clone()], [given], additional_inputs=[hh])
        found: Tensor = states.transpose(0, 1)
        return found


def torch_names(name: str, layer: int, ours: str) -> dict[str, str]:
    """What nn.LSTM calls the parameters of a layer, as `name`.weight_ih_l0 -> the name of ours, as `ours`.ih.weight."""
    kinds = [(kind, part) for kind in ("ih", "hh") for part in ("weight", "bias")]
    return {f"{name}.{part}_{kind}_l{layer}": f"{ours}.{kind}.{part}" for kind, part in kinds}
