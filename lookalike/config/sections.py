"""The configuration: one frozen model a section, one section a stage, checked once and then trusted.

Sections and the stages they belong to: `dataset` (download_dataset), `training` (fine_tune),
`embedding` (embed_all), `index` (build_lsh), `evaluation` (evaluate_recall). `artifacts`, `query`
and `schedule` belong to no stage: changing them rebuilds nothing.

Reading YAML, `--set` overrides and the error messages stand in `loading.py`; what depends on
the images, the network or the machine is checked by `pipeline/preflight.py`.
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
    """Base of every section: immutable, and an unknown key, infinity or NaN is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArtifactsConfig(Section):
    """Where everything that the pipeline writes goes."""

    root: UserPath = Field(Path("artifacts"), description="Folder of all artifacts")


class Mirror(Section):
    """One place that serves the dataset's archive, with its checksum where it is known."""

    url: str = Field(pattern=r"^https?://[^\s/]")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")


class DatasetConfig(Section):
    """Stage download_dataset: which images, and how they are split."""

    source: Literal["caltech101", "synthetic", "folder"] = Field("synthetic", description="Where the images come from")
    folder: UserPath | None = Field(None, description="For source `folder`: the folder of images")
    labels: Literal["folders", "none"] = Field(
        "folders", description="Where labels come from; none: the images have none, and nothing is trained"
    )
    label_level: int | None = Field(
        None,
        description="Which folder of an image's path is its label: 1 the outermost, 2 the one in it, -1 the innermost "
        "(default: 1, but refused where that folder is a year or a split)",
    )
    follow_links: bool = Field(False, description="For a folder: follow symbolic links, also to places outside of it")
    archive: UserPath | None = Field(
        None,
        description="For source `caltech101`: a local archive or folder, "
        "instead of a download (default: $LOOKALIKE_CALTECH101)",
    )
    mirrors: tuple[Mirror, ...] = Field(
        (Mirror(url=CALTECH101_URL, md5=CALTECH101_MD5), Mirror(url=CALTECH101_FASTAI_URL)),
        min_length=1,
        description="For source `caltech101`: places to download from, tried in order",
    )
    exclude_labels: tuple[Text, ...] = Field((), description="Labels whose images are left out")
    exclude_paths: tuple[Pattern, ...] = Field(
        (),
        description="Patterns of files and folders that are left out, such as `thumbs`, `*.gif` or `2019/*_copy.jpg`; "
        "compared with the last parts of each path",
    )
    max_pixels: PositiveInt = Field(
        120_000_000, description="Images with more pixels than this are rejected, and refused as queries"
    )
    max_failure_fraction: Fraction = Field(
        0.05,
        description="Share of unreadable images above which the build fails; a file whose name says image counts, "
        "whatever it holds",
    )
    valid_fraction: float = Field(0.2, gt=0.0, lt=1.0, description="Share of each label that is held out")
    seed: Seed = Field(0, description="Seed of the split, and of the synthetic images")
    synthetic_labels: int = Field(12, ge=2, le=12, description="For source `synthetic`: number of labels")
    synthetic_images_per_label: int = Field(50, ge=2, description="For source `synthetic`: images of each label")

    @model_validator(mode="after")
    def _location_fits_the_source(self) -> "DatasetConfig":
        if self.source == "folder" and self.folder is None:
            raise ValueError("source is `folder`, so dataset.folder must name the folder of images")
        for name, value, source in (("folder", self.folder, "folder"), ("archive", self.archive, "caltech101")):
            if value is not None and self.source != source:
                raise ValueError(
                    f"{name} is {str(value)!r}, but source is `{self.source}`, which does not read it; "
                    f"set dataset.source to `{source}`, or leave dataset.{name} empty"
                )
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
        description="Any torchvision or timm network by name, or your own function: python:package.module.function",
    )
    weights: Text = Field(
        "imagenet",
        description="imagenet | none | package:NAME | a file | a URL (with weights_sha256)",
    )
    weights_sha256: str | None = Field(None, pattern=r"^[0-9a-f]{8,64}$", description="Checksum of a file or URL")
    image_size: int = Field(224, ge=32, le=1024, description="Side of the square input, in pixels")
    resize: Literal["squish", "crop"] = Field(
        "squish", description="squish keeps the whole image, crop keeps its aspect ratio and cuts the middle"
    )
    embedding_units: int = Field(512, ge=2, le=65_536, description="Width of the layer that becomes the embedding")
    pretrained_components: int = Field(
        0,
        ge=0,
        description="How many dimensions of `head.embedding` are fixed principal components of the body's features; "
        "the others are trained, and scaled by the classifier's confidence",
    )
    pretrained_share: Fraction = Field(0.5, description="Share of these dimensions in the variance of `head.embedding`")
    activation: Literal["relu", "none"] = Field("relu", description="After the embedding layer")
    classifier: Literal["linear", "cosine"] = Field(
        "linear", description="cosine scores classes by angle, which groups the embeddings of a class more tightly"
    )
    dropout: float = Field(0.25, ge=0.0, lt=1.0, description="Share of pooled features dropped while learning")
    # With one image alone, BatchNorm has nothing to compare it with.
    batch_size: int = Field(64, ge=2, description="Images per training step")
    frozen_epochs: int = Field(5, ge=0, description="Epochs in which only the head learns")
    frozen_learning_rate: Rate = Field(1e-2, description="Largest rate of the frozen stage")
    unfrozen_epochs: int = Field(5, ge=0, description="Epochs in which all layers learn")
    unfrozen_learning_rates: tuple[Rate, Rate] = Field(
        (1e-5, 2e-3), description="Largest rates of the first and the last layers in the unfrozen stage"
    )
    first_trained_layer: Text | None = Field(
        None,
        description="Unfrozen stage: layers of the body before this one stay frozen, and what they make of the images "
        "is computed once; by default all layers learn",
    )
    augmentation: Literal["none", "flip", "moderate"] = Field(
        "none", description="Training also sees mirrored images; moderate adds crops, brightness and contrast"
    )
    interpolation: Fraction = Field(
        1.0, description="Share of the fine-tuned body in the final one; the rest are the initial weights"
    )
    final_head_epochs: int = Field(
        0, ge=0, description="Epochs of a fresh head on the features of the final body; 0 keeps the head as it is"
    )
    loss: Text = Field(
        "cross_entropy",
        pattern=r"^(cross_entropy|python:.+)$",
        description="cross_entropy, or your own function of scores and class numbers: python:package.module.function",
    )
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="Label smoothing of the cross-entropy")
    precision: Precision = Field(
        "auto", description="Arithmetic of the unfrozen stage; auto: bf16 where it makes timed steps clearly faster"
    )
    unseen_labels: tuple[Text, ...] = Field(
        (),
        description="Labels that are left out of training; their images are still embedded, indexed and evaluated",
    )
    retrain: Literal["always", "on_new_labels", "on_growth", "never"] = Field(
        "always",
        description="When the images have changed: train again, only if there are new labels, only if the collection "
        "is another or has four times the images of the model, or keep the model",
    )
    seed: Seed = Field(0, description="Seed of the head's initial weights and of the order of images")

    @property
    def epochs(self) -> int:
        """Epochs of all steps together; with 0 nothing is trained."""
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
    """Stage embed_all: which layer is hooked, and how the work is cut up."""

    layer: Text = Field("head.activation", description="Module whose output is the embedding, by its dotted name")
    precision: Precision = Field("auto", description="Arithmetic of the forward pass")
    batch_size: PositiveInt | Literal["auto"] = Field(
        "auto", description="Images per forward pass; auto: 1 in fp32 and 8 in bf16 on a processor, 64 on a GPU"
    )
    shard_rows: PositiveInt = Field(1024, description="Rows of one Parquet shard")
    workers: Workers | Literal["auto"] = Field(
        "auto", description="Threads that decode and embed images; auto: one per core"
    )
    verify_rows: int = Field(16, ge=0, description="Rows embedded again, one by one, as a check after the stage")
    precision_check_rows: int = Field(
        1000, ge=0, description="Images on which bf16 must find nearly the neighbors of fp32 before it is used"
    )


class IndexConfig(Section):
    """Stage build_lsh: the hashing engine and its parameters."""

    engine: Literal["lookalike", "lshash3"] = Field("lookalike", description="Hashing engine")
    metric: Literal["cosine", "euclidean", "inner_product"] = Field(
        "cosine", description="Distance by which neighbors are ranked"
    )
    center: bool = Field(True, description="Subtract the mean of the vectors first")
    n_bits: Bits | Literal["auto"] = Field("auto", description="Hyperplanes per table (lshash: hash_size)")
    n_tables: Tables | Literal["auto"] = Field("auto", description="Hash tables (lshash: num_hashtables)")
    probes: Probes | Literal["auto"] = Field("auto", description="Buckets looked up in each table")
    target_recall: float = Field(0.95, gt=0.0, le=1.0, description="recall@10 that `auto` aims for")
    seed: Seed = Field(0, description="Seed of the hyperplanes")

    @model_validator(mode="after")
    def _lshash3_ranks_by_distance(self) -> "IndexConfig":
        if self.engine == "lshash3" and self.metric == "inner_product":
            raise ValueError("engine lshash3 has no metric inner_product: choose cosine, euclidean or engine lookalike")
        return self


class EvaluationConfig(Section):
    """Stage evaluate_recall: the figures, and the gate in front of publishing."""

    max_queries: PositiveInt = Field(2000, description="Held-out queries used, at most")
    seed: Seed = Field(0, description="Seed of the sample of queries")
    lshash3_queries: int = Field(100, ge=0, description="Queries put to the lshash3 baseline; 0 leaves it out")
    lshash3_max_vectors: int = Field(50_000, ge=0, description="Collections larger than this leave the baseline out")
    lshash3_n_bits: Bits = Field(10, description="Hyperplanes per table of the lshash3 baseline")
    lshash3_n_tables: Tables = Field(5, description="Hash tables of the lshash3 baseline")
    distorted_queries: int = Field(
        0, ge=0, description="Held-out images that ask once more, strongly distorted, as photographs from elsewhere"
    )
    copy_queries: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="Held-out images that, strongly distorted, have to find themselves among all images; auto: 200 if "
        "there are no labels, else none",
    )
    same_labels: tuple[Annotated[tuple[Text, ...], Field(min_length=2)], ...] = Field(
        (), description="Groups of labels that name one thing; precision is reported with and without them"
    )
    background_labels: tuple[Text, ...] = Field(
        (), description="Labels that name nothing; precision is reported with and without them"
    )
    min_recall_at_10: Fraction = Field(0.9, description="Below it nothing is published, and the exit code is 3")
    min_copy_recall_at_10: Fraction = Field(
        0.3, description="The same for copy_recall_at_10, if there are copy_queries"
    )
    max_regression: Fraction = Field(
        0.05,
        description="How far accuracy, precision_at_10 and map (without labels: copy_recall_at_10) may fall below what "
        "published builds of the same collection reached",
    )
    max_shrinkage: Fraction = Field(
        0.1, description="Share of the images of the published build that the same collection may lose"
    )

    @model_validator(mode="after")
    def _labels_are_in_one_group(self) -> "EvaluationConfig":
        named = [label for group in self.same_labels for label in group]
        repeated = sorted({label for label in named if named.count(label) > 1})
        if repeated:
            raise ValueError(f"same_labels names {', '.join(map(repr, repeated))} more than once")
        return self

    # What the gate demands changes no figure, so it stands outside the stage's cache key.
    GATE_KEYS: ClassVar[frozenset[str]] = frozenset(
        {"min_recall_at_10", "min_copy_recall_at_10", "max_regression", "max_shrinkage"}
    )


class QueryConfig(Section):
    """The query flow: what an image may cost."""

    n: PositiveInt = Field(6, description="Neighbors returned when a query names no number")
    timeout_seconds: float = Field(20.0, gt=0.0, le=3600.0, description="Time that fetching a URL may take in all")
    max_bytes: PositiveInt = Field(20_000_000, description="Largest image file that a URL may send")
    max_redirects: int = Field(3, ge=0, description="Redirects that a URL may take")
    allow_private_addresses: bool = Field(False, description="Let URLs reach this machine and private networks")


class ScheduleConfig(Section):
    """`lookalike serve` and `lookalike deploy`: when the index is rebuilt."""

    cron: Cron = Field("0 3 * * *", description="Times of the rebuild, as a cron expression of five fields")
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
    # Of no stage: changing it rebuilds nothing.
    name: str = Field(
        "lookalike",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="Name of the collection, which its Prefect deployments carry (default: the name of the file)",
    )

    @model_validator(mode="after")
    def _only_labels_are_trained(self) -> "LookalikeConfig":
        if self.dataset.labels == "none" and self.training.epochs:
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
