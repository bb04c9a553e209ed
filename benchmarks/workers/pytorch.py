"""PyTorch, in both of its layouts: see worker.py."""

import torch


class Nchw:
    """Channels first."""

    version = "PyTorch " + torch.__version__

    def __init__(self, threads):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)

    def load(self, problem, inputs, filters, gradient):
        rank = len(problem.input)
        to_first = [0, rank + 1] + list(range(1, rank + 1))
        inputs, filters, gradient = (
            torch.from_numpy(tensor).to(getattr(torch, problem.dtype))
            for tensor in (inputs, filters, gradient)
        )
        x = self._lay_out(inputs.permute(to_first))
        dy = self._lay_out(gradient.permute(to_first))
        w = self._lay_out(filters.permute([rank + 1, rank] + list(range(rank))))
        if any(before != after for before, after in problem.paddings):
            raise NotImplementedError("paddings before and after differ")
        options = (
            problem.strides,
            [before for before, _ in problem.paddings],
            problem.dilations,
            False,  # Not transposed.
            [0] * rank,
            problem.groups,
        )

        def backward(of_input, of_filter):
            # Autograd's own call.
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, *options, [of_input, of_filter, False]
            )[:2]

        return {
            "forward": lambda: (torch.convolution(x, w, None, *options), None),
            "input_gradient": lambda: backward(True, False),
            "filter_gradient": lambda: backward(False, True),
            "gradients": lambda: backward(True, True),
        }

    def arrays(self, result):
        data, filters = result
        arrays = []
        if data is not None:
            arrays.append(data.movedim(1, -1).float().numpy())
        if filters is not None:
            arrays.append(filters.movedim((1, 0), (-2, -1)).float().numpy())
        return arrays

    def _lay_out(self, tensor):
        return tensor.contiguous()


class ChannelsLast(Nchw):
    """Channels last, of data and filters."""

    def _lay_out(self, tensor):
        return tensor.contiguous(
            memory_format=torch.channels_last if tensor.dim() == 4 else torch.channels_last_3d
        )
