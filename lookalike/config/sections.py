"""The configuration: one frozen model per section, one section per stage, checked when it is read.

Sections and the stages they belong to: `dataset` (download_dataset), `training` (fine_tune),
`embedding` (embed_all), `index` (build_lsh), `evaluation` (evaluate_recall). `artifacts`, `query`
and `schedule` belong to no stage: changing them rebuilds nothing.

`loading.py` reads YAML and `--set` overrides and writes the error messages. `pipeline/preflight.py` checks
what depends on the images, the network or the machine. The descriptions make the table of `docs/configuration.md`.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lookalike.config.setting_types import (
    Bits,
    Cron,
    Fraction,
    Pattern,
    PositiveInt,
    Probes,
    Rate,
    Seed,
    Tables,
    Text,
    TimeZone,
    UserPath,
    Workers,
)

Precision = Literal["auto", "fp32", "bf16"]

CALTECH101_URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
CALTECH101_MD5 = "3138e1922a9193bfa496528edbbc45d0"
# fastai's URLs.CALTECH_101: the same images in a flat .tgz, served without a published checksum.
CALTECH101_FASTAI_URL = "https://s3.amazonaws.com/fast-ai-imageclas/caltech_101.tgz"


class Section(BaseModel):
    """Base of all sections: immutable; unknown keys, infinity and NaN are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArtifactsConfig(Section):
    """Where the pipeline writes."""

    root: UserPath = Field(Path("artifacts"), description="Folder of all artifacts")


class Mirror(Section):
    """A URL of the dataset's archive, with its checksum if it is known."""

    url: str = Field(pattern=r"^https?://[^\s/]")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class DatasetConfig(Section):
    """Stage download_dataset: which images, and how they are split."""

    source: Literal["caltech101", "synthetic", "folder", "vectors"] = Field(
        "synthetic", description="Source of the images; vectors: embeddings of your own, without images or training"
    )
    folder: UserPath | None = Field(None, description="Folder of the images, for source `folder`")
    vectors: UserPath | None = Field(
        None,
        description="Parquet file, folder of Parquet files, or .npy file with the embeddings, for source `vectors`",
    )
    labels: Literal["folders", "none"] = Field(
        "folders", description="Labels are the names of folders, or there are none and nothing is trained"
    )
    label_level: int | None = Field(
        None,
        description="Which folder of an image's path is its label: 1 is the outermost, 2 the next, -1 the innermost "
        "(default: 1; refused if that folder is a year or a split such as `train`)",
    )
    follow_links: bool = Field(False, description="Follow symbolic links, also to places outside the folder")
    archive: UserPath | None = Field(
        None,
        description="Local archive or folder of Caltech-101, used instead of a download, for source `caltech101` "
        "(default: $LOOKALIKE_CALTECH101)",
    )
    mirrors: tuple[Mirror, ...] = Field(
        (Mirror(url=CALTECH101_URL, md5=CALTECH101_MD5), Mirror(url=CALTECH101_FASTAI_URL)),
        min_length=1,
        description="URLs to download Caltech-101 from, tried in order",
    )
    exclude_labels: tuple[Text, ...] = Field((), description="Labels whose images are left out")
    exclude_paths: tuple[Pattern, ...] = Field(
        (),
        description="Patterns of files and folders that are left out, such as `thumbs`, `*.gif` or `2019/*_copy.jpg`; "
        "each is matched with the last parts of a path",
    )
    max_pixels: PositiveInt = Field(
        120_000_000, description="Largest number of pixels of an image; larger images are rejected, also as queries"
    )
    max_failure_fraction: Fraction = Field(
        0.05,
        description="Share of unreadable images above which the build fails; every file with the suffix of an image "
        "counts, whatever its contents",
    )
    split: Literal["random", "folders"] = Field(
        "random",
        description="Which images are held out; folders: those in the outermost folders called val, valid, validation, "
        "dev, test, testing or eval",
    )
    valid_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="Share of each label that is held out")
    seed: Seed = Field(0, description="Seed of the split and of the generated images")
    synthetic_labels: int = Field(12, ge=2, le=12, description="Number of labels, for source `synthetic`")
    synthetic_images_per_label: int = Field(50, ge=2, description="Images per label, for source `synthetic`")

    @model_validator(mode="after")
    def _location_fits_the_source(self) -> "DatasetConfig":
        if self.source == "folder" and self.folder is None:
            raise ValueError("source is `folder`, so dataset.folder must name the folder of images")
        if self.source == "vectors" and self.vectors is None:
            raise ValueError("source is `vectors`, so dataset.vectors must name a Parquet or .npy file, or a folder")
        places = (
            ("folder", self.folder, "folder"),
            ("archive", self.archive, "caltech101"),
            ("vectors", self.vectors, "vectors"),
        )
        for name, value, source in places:
            if value is not None and self.source != source:
                raise ValueError(
                    f"{name} is {str(value)!r}, but source is `{self.source}`, which does not read it; "
                    f"set dataset.source to `{source}`, or leave dataset.{name} empty"
                )
        if self.split == "folders" and self.source != "folder":
            raise ValueError(f"split is `folders`, which is for a folder of images, but source is `{self.source}`")
        return self

    @model_validator(mode="after")
    def _labels_exist(self) -> "DatasetConfig":
        if self.label_level == 0:
            raise ValueError("label_level counts from 1, or from -1 for the innermost folder, got 0")
        if self.labels == "none" and self.exclude_labels:
            raise ValueError("labels is `none`, so there are no exclude_labels to leave out")
        return self


class TrainingConfig(Section):
    """Stage fine_tune: the network, its initial weights, and how it is trained."""

    backbone: Text = Field(
        "resnet34",
        description="Name of a torchvision or timm network, or a function of yours: python:package.module.function",
    )
    weights: Text = Field(
        "imagenet",
        description="Initial weights: imagenet, none, package:NAME, a file, or a URL (needs weights_sha256)",
    )
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$", description="SHA-256 of a file or URL")
    image_size: int = Field(224, ge=32, le=1024, description="Height and width of the network's input, in pixels")
    resize: Literal["squish", "crop"] = Field(
        "squish", description="How images become square: squish changes the aspect ratio, crop takes the center"
    )
    embedding_units: int = Field(512, ge=2, le=65_536, description="Dimensions of the head's embedding")
    pretrained_components: int = Field(
        0,
        ge=0,
        description="How many embedding dimensions are fixed principal components of the pretrained features; the "
        "others are trained and scaled by classifier confidence (layer `head.embedding`)",
    )
    pretrained_share: Fraction = Field(0.5, description="Share of these components in the variance of the embedding")
    activation: Literal["relu", "none"] = Field("relu", description="Activation function after the embedding layer")
    classifier: Literal["linear", "cosine"] = Field(
        "linear", description="cosine scores classes by angle, so embeddings of a class lie closer together"
    )
    dropout: float = Field(0.25, ge=0.0, lt=1.0, description="Dropout probability of the pooled features")
    # BatchNorm needs at least two images.
    batch_size: int = Field(64, ge=2, description="Images per training step")
    frozen_epochs: int = Field(5, ge=0, description="Epochs that train the head only")
    frozen_learning_rate: Rate = Field(1e-2, description="Maximum learning rate of the frozen epochs")
    unfrozen_epochs: int = Field(5, ge=0, description="Epochs that train the body too")
    unfrozen_learning_rates: tuple[Rate, Rate] = Field(
        (1e-5, 2e-3), description="Maximum learning rates of the first and the last layers in the unfrozen epochs"
    )
    first_trained_layer: Text | None = Field(
        None,
        description="First layer that the unfrozen epochs train; the layers before it stay frozen, and their output is "
        "computed once (default: all layers are trained)",
    )
    augmentation: Literal["none", "flip", "moderate"] = Field(
        "none", description="Augmentation of training images; flip mirrors, moderate also crops and changes brightness"
    )
    interpolation: Fraction = Field(
        1.0, description="Weight of the fine-tuned body when it is averaged with the initial one (1: no averaging)"
    )
    final_head_epochs: int = Field(
        0, ge=0, description="Epochs that train a new head on the features of the final body (0: keep the head)"
    )
    loss: Text = Field(
        "cross_entropy",
        pattern=r"^(cross_entropy|python:.+)$",
        description="cross_entropy, or a function of yours of scores and class numbers: python:package.module.function",
    )
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="Label smoothing of the cross-entropy")
    precision: Precision = Field(
        "auto", description="Precision of the unfrozen epochs; auto: bf16 if timed steps are clearly faster"
    )
    unseen_labels: tuple[Text, ...] = Field(
        (),
        description="Labels left out of training; their images are still embedded, indexed and evaluated",
    )
    retrain: Literal["always", "on_new_labels", "on_growth", "never"] = Field(
        "always",
        description="When to train again after the images have changed; on_growth: if the collection is another one or "
        "has four times as many images as the model was made from",
    )
    seed: Seed = Field(0, description="Seed of the head's initial weights and of the order of the images")

    @property
    def epochs(self) -> int:
        """Sum of the epochs of all phases; with 0 nothing is trained."""
        return self.frozen_epochs + self.unfrozen_epochs + self.final_head_epochs

    @model_validator(mode="after")
    def _checksum_has_a_file(self) -> "TrainingConfig":
        if self.weights_sha256 is not None and self.weights in {"imagenet", "none"}:
            raise ValueError(f"weights_sha256 is the checksum of a file or URL, but weights is `{self.weights}`")
        return self

    @model_validator(mode="after")
    def _some_units_learn(self) -> "TrainingConfig":
        most = self.embedding_units - (1 if self.epochs else 0)
        if self.pretrained_components > most:
            raise ValueError(
                f"pretrained_components are part of embedding_units and must be {'fewer' if self.epochs else 'no more'}"
                f", got {self.pretrained_components} of {self.embedding_units}"
            )
        return self


class EmbeddingConfig(Section):
    """Stage embed_all: which layer is hooked, and how the work is divided."""

    layer: Text = Field("head.activation", description="Dotted name of the module whose output is the embedding")
    precision: Precision = Field(
        "auto", description="Precision of the network; auto: bf16 if it is clearly faster and passes its check"
    )
    batch_size: PositiveInt | Literal["auto"] = Field(
        "auto", description="Images per forward pass (auto: 1 in fp32 and 8 in bf16 on a processor, 64 on a GPU)"
    )
    shard_rows: PositiveInt = Field(1024, description="Rows per Parquet shard")
    workers: Workers | Literal["auto"] = Field(
        "auto", description="Threads that decode and embed images (auto: one per core)"
    )
    verify_rows: int = Field(16, ge=0, description="Stored embeddings that are compared with torch")
    precision_check_rows: int = Field(
        1000, ge=0, description="Images on which bf16 must find the neighbors of fp32 before it is used (0: no check)"
    )


class IndexConfig(Section):
    """Stage build_lsh: the hashing engine and its parameters."""

    engine: Literal["lookalike", "lshash3"] = Field("lookalike", description="Hashing engine")
    metric: Literal["cosine", "euclidean", "inner_product"] = Field(
        "cosine", description="Distance that ranks neighbors"
    )
    center: bool = Field(True, description="Subtract the mean embedding first")
    n_bits: Bits | Literal["auto"] = Field("auto", description="Hyperplanes per hash table (hash_size of lshash)")
    n_tables: Tables | Literal["auto"] = Field("auto", description="Hash tables (num_hashtables of lshash)")
    probes: Probes | Literal["auto"] = Field("auto", description="Buckets looked up per table, on average")
    target_recall: float = Field(0.95, gt=0.0, le=1.0, description="recall@10 that `auto` aims for")
    storage: Literal["fp32", "fp16"] = Field(
        "fp32", description="Precision of the vectors in the index; fp16: half the disk"
    )
    seed: Seed = Field(0, description="Seed of the hyperplanes")

    @model_validator(mode="after")
    def _lshash3_ranks_by_distance(self) -> "IndexConfig":
        if self.engine == "lshash3" and self.metric == "inner_product":
            raise ValueError("engine lshash3 has no metric inner_product: choose cosine, euclidean or engine lookalike")
        return self


class EvaluationConfig(Section):
    """Stage evaluate_recall: the metrics, and the quality gate."""

    max_queries: PositiveInt = Field(2000, description="Maximum number of held-out queries")
    seed: Seed = Field(0, description="Seed that samples the queries")
    lshash3_queries: int = Field(100, ge=0, description="Queries of the lshash3 baseline (0: none)")
    lshash3_max_vectors: int = Field(50_000, ge=0, description="Largest collection that lshash3 is measured on")
    lshash3_n_bits: Bits = Field(10, description="Hyperplanes per hash table of the lshash3 baseline")
    lshash3_n_tables: Tables = Field(5, description="Hash tables of the lshash3 baseline")
    distorted_queries: int = Field(
        0, ge=0, description="Held-out images that query once more after a strong distortion, as images from elsewhere"
    )
    copy_queries: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="Held-out images that must find their original among all images after a strong distortion (auto: "
        "200 without labels, otherwise 0)",
    )
    same_labels: tuple[Annotated[tuple[Text, ...], Field(min_length=2)], ...] = Field(
        (), description="Groups of labels that mean the same; precision is also reported with each group merged"
    )
    background_labels: tuple[Text, ...] = Field(
        (), description="Labels of unrelated images; precision is also reported without them"
    )
    min_recall_at_10: Fraction = Field(
        0.9, description="Lowest recall@10 (lower end of its 95 % interval) to be published"
    )
    min_copy_recall_at_10: Fraction = Field(0.3, description="Lowest copy_recall_at_10 to be published")
    max_regression: Fraction = Field(
        0.05,
        description="How far accuracy, precision_at_10 and map (copy_recall_at_10 without labels) may fall below the "
        "best of the published builds of the same collection",
    )
    max_shrinkage: Fraction = Field(0.1, description="Largest share of its images that a published collection may lose")

    @model_validator(mode="after")
    def _labels_are_in_one_group(self) -> "EvaluationConfig":
        named = [label for group in self.same_labels for label in group]
        repeated = sorted({label for label in named if named.count(label) > 1})
        if repeated:
            raise ValueError(f"same_labels names {', '.join(map(repr, repeated))} more than once")
        return self

    # Requirements of the gate change no metric, so they are not part of the stage's cache key.
    GATE_KEYS: ClassVar[frozenset[str]] = frozenset(
        {"min_recall_at_10", "min_copy_recall_at_10", "max_regression", "max_shrinkage"}
    )


class QueryConfig(Section):
    """Queries: their limits."""

    n: PositiveInt = Field(6, description="Neighbors per query, if none is given")
    timeout_seconds: float = Field(20.0, gt=0.0, le=3600.0, description="Maximum time to fetch a URL")
    max_bytes: PositiveInt = Field(20_000_000, description="Largest file that is fetched from a URL")
    max_redirects: int = Field(3, ge=0, description="Maximum number of redirects of a URL")
    allow_private_addresses: bool = Field(False, description="Fetch URLs of this machine and of private networks too")


class ScheduleConfig(Section):
    """`lookalike serve` and `lookalike deploy`: when the index is rebuilt."""

    cron: Cron = Field("0 3 * * *", description="When to rebuild, as a cron expression of five fields")
    timezone: TimeZone = Field("UTC", description="Time zone of the cron expression, such as Europe/Berlin")


class LookalikeConfig(Section):
    """The whole configuration."""

    artifacts: ArtifactsConfig = ArtifactsConfig()
    dataset: DatasetConfig = DatasetConfig()
    training: TrainingConfig = TrainingConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    index: IndexConfig = IndexConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    query: QueryConfig = QueryConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    # Belongs to no stage: changing it rebuilds nothing.
    name: str = Field(
        "lookalike",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="Name of the collection and of its Prefect deployments (default: the name of the file)",
    )

    @model_validator(mode="after")
    def _only_labels_are_trained(self) -> "LookalikeConfig":
        if self.dataset.labels == "none" and self.training.epochs and self.dataset.source != "vectors":
            raise ValueError(
                "dataset.labels is `none`, so there is nothing to train: set training.frozen_epochs, "
                "training.unfrozen_epochs and training.final_head_epochs to 0, or start from configs/photos.yaml"
            )
        return self

    @model_validator(mode="after")
    def _layer_is_not_random(self) -> "LookalikeConfig":
        training, layer = self.training, self.embedding.layer
        is_all_components = training.pretrained_components == training.embedding_units
        usable = ("head.pool", "head.embedding") if is_all_components else ("head.pool", "head.norm", "head.dropout")
        if training.epochs == 0 and layer.startswith("head.") and layer not in usable:
            raise ValueError(
                f"nothing is trained (training has no epochs), so embedding.layer={layer} would be random: set it to "
                f"head.embedding with training.pretrained_components={training.embedding_units}, or to head.pool"
            )
        return self
