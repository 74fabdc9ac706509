"""Checkpoints of the form in which torchvision publishes its own, served from a folder of this machine."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from torch import nn


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP; yields the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def save_checkpoint(folder: Path, network: nn.Module) -> tuple[Path, str]:
    """Save tensors by name, with 8 digits of the sha256 in the file name; returns path and whole digest."""
    path = folder / "checkpoint.pth"
    torch.save(network.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(folder / f"resnet34-{digest[:8]}.pth"), digest


@contextmanager
def resnet34_published_at(url: str) -> Iterator[None]:
    """Let torchvision believe that its ResNet-34 weights are published at `url`."""
    from torchvision.models import ResNet34_Weights

    weights = ResNet34_Weights.IMAGENET1K_V1.value
    original = weights.url
    object.__setattr__(weights, "url", url)
    try:
        yield
    finally:
        object.__setattr__(weights, "url", original)
