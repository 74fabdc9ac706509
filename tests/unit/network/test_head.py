import pytest
import torch

from lookalike.network.head import Embedding, Head, shrunk_variances

SURE = torch.ones(1, 1)


def features(n=400, dim=12, seed=0):
    """Correlated features with one direction of large variance."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator)
    return torch.randn(n, dim, generator=generator) @ mixing + 5.0


def variance(vectors):
    return float(vectors.var(dim=0, correction=0).sum())


@pytest.mark.parametrize("pretrained_share", [0.0, 0.3, 1.0])
def test_kept_components_make_their_share_of_the_variance(pretrained_share):
    pooled = features()
    activation = torch.relu(features(seed=1))
    embedding = Embedding(12, 4)
    confidence = torch.linspace(0.2, 1, 400)[:, None]
    embedding.fit(pooled, activation, confidence, pretrained_share)
    vectors = embedding(pooled, activation, confidence)
    assert vectors.shape == (400, 16)
    assert variance(vectors) == pytest.approx(1.0, rel=1e-4)
    assert variance(vectors[:, 12:]) == pytest.approx(pretrained_share, abs=1e-5)
    assert vectors[:, 12:].mean(dim=0).abs().max() < 1e-4


def test_kept_components_are_the_principal_ones_half_whitened():
    pooled = features()
    embedding = Embedding(12, 3)
    embedding.fit(pooled, torch.rand(400, 2), SURE, 0.5)
    kept = embedding(pooled, torch.rand(400, 2), SURE)[:, 2:]
    covariance = torch.cov(kept.T)
    assert (covariance - torch.diag(covariance.diag())).abs().max() < 1e-4
    largest = torch.linalg.eigvalsh(torch.cov(pooled.T))[-3:]
    # Divided by the square root of the standard deviation, a variance v becomes the square root of v.
    expected = largest.sqrt() / largest.sqrt().sum() * 0.5
    torch.testing.assert_close(covariance.diag(), expected, rtol=0.01, atol=1e-4)


def components_alone(pooled, count):
    """The embeddings of a head that has nothing but components, fitted to these features."""
    head = Head(pooled.shape[1], 0, 0, pretrained_components=count).eval()
    head.fit_embedding(pooled, 0.5)
    return head


@pytest.mark.parametrize("pooled", [features(n=1), features(n=3), torch.ones(5, 12)], ids=["one", "few", "equal"])
def test_few_or_equal_images_leave_every_direction_measured(pooled):
    head = components_alone(pooled, 12)
    later = features(seed=3)
    vectors = head.classify(later)
    assert torch.isfinite(vectors).all()
    assert torch.linalg.matrix_rank(vectors - vectors.mean(dim=0)) == 12
    # What is near stays near.
    distances, expected = (torch.cdist(rows, rows).flatten() for rows in (vectors, later))
    assert torch.corrcoef(torch.stack([distances, expected]))[0, 1] > 0.9


@pytest.mark.parametrize("images", [3, 400])
def test_fewer_features_than_components_are_filled_up_with_zeros(images):
    pooled = features(n=images)
    vectors = components_alone(pooled, 20).classify(pooled)
    assert vectors.shape == (images, 20)
    assert torch.equal(vectors[:, 12:], torch.zeros(images, 8))
    beside = Embedding(12, 20)
    beside.fit(pooled, torch.rand(images, 2), SURE, 0.5)
    assert beside(pooled, torch.rand(images, 2), SURE).shape == (images, 22)


def test_a_head_without_units_embeds_by_components_alone():
    pooled = features()
    head = components_alone(pooled, 3)
    assert set(head.state_dict()) == {"embedding.gain", "embedding.projection", "embedding.shift"}
    vectors = head(pooled[:, :, None, None])
    assert vectors.mean(dim=0).abs().max() < 1e-4
    assert variance(vectors) == pytest.approx(1.0, rel=1e-4)
    # A quarter of whitening: a variance v becomes the power 3/4 of v.
    largest = torch.linalg.eigvalsh(torch.cov(pooled.T))[-3:] ** 0.75
    torch.testing.assert_close(vectors.var(dim=0), largest / largest.sum(), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("images", [2, 10, 1000])
def test_variances_are_drawn_towards_their_mean_the_more_the_fewer_images(images):
    true = torch.tensor([1.0, 2.0, 4.0, 8.0])
    shrunk = shrunk_variances(true, images)
    assert shrunk.mean() == pytest.approx(float(true.mean()))
    assert (shrunk.diff() >= 0).all()
    # As scikit-learn's OAS has it.
    mean, square = float(true.mean()), float((true**2).mean())
    share = min(1.0, (square / 4 + mean**2) / ((images + 1) * (square / 4 - mean**2 / 4)))
    torch.testing.assert_close(shrunk, (1 - share) * true + share * mean)


def test_equal_and_absent_variances_are_all_the_same():
    assert torch.equal(shrunk_variances(torch.zeros(3), 5), torch.ones(3))
    assert torch.equal(shrunk_variances(torch.full((3,), 2.0), 5), torch.full((3,), 2.0))


def test_without_pretrained_components_the_embedding_is_the_activation():
    head = Head(12, 6, 3).eval()
    pooled = features()
    activation = head.activate(pooled)
    assert torch.equal(head.embedding(pooled, activation, head.confidence(head.norm2(activation))), activation)


def test_an_unsure_activation_counts_less_and_components_stay():
    embedding = Embedding(12, 4)
    pooled, activation = features(), torch.rand(400, 2)
    embedding.fit(pooled, activation, SURE, 0.5)
    sure, unsure = embedding(pooled, activation, SURE), embedding(pooled, activation, 0.25 * SURE)
    torch.testing.assert_close(unsure[:, :2], 0.25 * sure[:, :2])
    assert torch.equal(unsure[:, 2:], sure[:, 2:])


@pytest.mark.parametrize("classifier", ["linear", "cosine"])
def test_confidence_is_the_cosine_to_the_nearest_class(classifier):
    head = Head(12, 6, 3, classifier=classifier).eval()
    directions = head.classifier.weight.detach()
    # Statistics of 0 and 1 make the second BatchNorm the identity but for its epsilon.
    activation = torch.stack([2.0 * directions[1], -directions.sum(dim=0), torch.zeros(6)])
    expected = torch.nn.functional.cosine_similarity(activation[:, None], directions[None], dim=2).amax(dim=1)
    found = head.confidence(head.norm2(activation)).detach()[:, 0]
    torch.testing.assert_close(found, expected.clamp(min=0), atol=1e-4, rtol=1e-4)
    assert found[0] == pytest.approx(1, abs=1e-4)
    assert found[2] == 0


def test_scores_do_not_depend_on_the_embedding():
    head = Head(12, 6, 3, pretrained_components=4).eval()
    pooled = features()
    before = head.classify(pooled)
    activation = head.activate(pooled).detach()
    head.embedding.fit(pooled, activation, head.confidence(head.norm2(activation)).detach(), 0.5)
    assert torch.equal(head.classify(pooled), before)
