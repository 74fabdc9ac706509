"""The network: an ImageNet body by name, a trained head, and its storage.

`backbones` builds a body by name, `weights` finds its initial tensors, `head` holds the layers trained on the
classes of the collection, `model_folder` saves and loads the whole, `preprocessing` turns an image into the input,
`inference` converts a network for OpenVINO, with which queries need no torch, and `arithmetic` chooses precision,
device and memory behavior for torch.

Importing this package is free; its modules `head`, `embedding_network`, `model_folder` and `arithmetic` import torch.
"""
