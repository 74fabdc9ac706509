"""Stage download_dataset: gets the images, catalogs and splits them, and says what could not be read."""

from lookalike.dataset.stage import download_dataset, source_fingerprint
from lookalike.dataset.storage import Dataset, DatasetSummary, open_dataset

__all__ = ["Dataset", "DatasetSummary", "download_dataset", "open_dataset", "source_fingerprint"]
