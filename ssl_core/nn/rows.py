"""A network over a map that sees the rows down to its own and none below (Henaff et al., 2020, appendix)."""

from collections import OrderedDict

from torch import Tensor, nn


class RowContext(nn.Module):
    """Residual blocks: along the row, then the row above; each lets it see a row further up and a column each way."""

    def __init__(self, dim: int, hidden_dim: int, depth: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    shrink=nn.Conv2d(dim, hidden_dim, 1),
                    act1=nn.ReLU(),
                    along=nn.Conv2d(hidden_dim, hidden_dim, (1, 3), padding=(0, 1)),
                    above=nn.ZeroPad2d((0, 0, 1, 0)),  # a row on top, so that the next one looks up only
                    down=nn.Conv2d(hidden_dim, hidden_dim, (2, 1)),
                    act2=nn.ReLU(),
                    grow=nn.Conv2d(hidden_dim, dim, 1),
                )
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, D, h, w]."""
        for block in self.blocks:
            x = x + block(x)
        return x.relu()
