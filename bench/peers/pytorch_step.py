"""A GPT-2 of PyTorch, forward and backward in f32 on one thread.

Arguments: layers, width, heads, context, vocabulary, sequences. Says "ready", then answers each line of the input, a
number of iterations, with a line of their seconds. Where it would be no peer it says why, and ends.
"""

import os
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    sys.exit(f"{sys.executable} cannot import torch")

# Debian's reference BLAS is twenty times as slow as OpenBLAS.
MAPS = "/proc/self/maps"
if os.path.exists(MAPS) and "/blas/libblas.so" in open(MAPS).read():
    sys.exit("PyTorch runs on the reference BLAS: install OpenBLAS")

LAYERS, WIDTH, HEADS, CONTEXT, VOCABULARY, SEQUENCES = map(int, sys.argv[1:])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.attention_out = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)
        mask = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
        self.register_buffer("mask", mask)

    def forward(self, x):
        batch, length, width = x.shape
        heads = (batch, length, HEADS, width // HEADS)
        q, k, v = self.qkv(self.norm1(x)).split(width, 2)
        q, k, v = (part.view(heads).transpose(1, 2) for part in (q, k, v))
        scores = q @ k.transpose(2, 3) * (width // HEADS) ** -0.5
        scores = scores.masked_fill(self.mask, float("-inf"))
        attended = (scores.softmax(3) @ v).transpose(1, 2).reshape(x.shape)
        x = x + self.attention_out(attended)
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens, targets):
        x = self.norm(self.blocks(self.tokens(tokens) + self.positions))
        logits = x @ self.tokens.weight.T
        return F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))


torch.set_num_threads(1)
torch.manual_seed(1)
model = Gpt()
drawn = torch.randint(VOCABULARY, (SEQUENCES, CONTEXT + 1))
tokens, targets = drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()

print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    for _ in range(int(line)):
        model.zero_grad(set_to_none=True)
        model(tokens, targets).backward()
    print(time.perf_counter() - start, flush=True)
