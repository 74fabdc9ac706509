"""What comes over the network: one image from a URL (`image`), or a large file from mirrors (`download`); `proxies`."""
