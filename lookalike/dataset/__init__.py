"""Stage download_dataset: gets the images, catalogs and splits them, and says what could not be read."""

from lookalike.dataset.label_folders import NO_LABEL
from lookalike.dataset.stage import check_folder, download_dataset, source_fingerprint
from lookalike.dataset.storage import Dataset, DatasetSummary, open_dataset

__all__ = [
    "NO_LABEL",
    "Dataset",
    "DatasetSummary",
    "check_folder",
    "download_dataset",
    "open_dataset",
    "source_fingerprint",
]
