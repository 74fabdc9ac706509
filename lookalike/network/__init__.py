"""The network: an ImageNet body by name, a head of our own, and everything that rebuilds it elsewhere.

`backbones` builds a body by name, `weights` finds its initial tensors, `head` holds the layers that learn
the collection's classes, `graph` writes a body down as plain JSON so that a query needs neither timm nor
torchvision, `model_folder` saves and loads the whole, `preprocessing` turns an image into the input, and
`arithmetic` chooses precision, device and memory behavior.

Importing this package is free; its modules `head`, `graph`, `model_folder` and `arithmetic` import torch.
"""
