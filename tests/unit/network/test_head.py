import pytest
import torch

from lookalike.network.head import Embedding, Head

SURE = torch.ones(1, 1)


def features(n=400, dim=12, seed=0):
    """Correlated features with one direction of large variance."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator)
    return torch.randn(n, dim, generator=generator) @ mixing + 5.0


def variance(vectors):
    return float(vectors.var(dim=0, correction=0).sum())


@pytest.mark.parametrize("kept_share", [0.0, 0.3, 1.0])
def test_kept_components_make_their_share_of_the_variance(kept_share):
    pooled = features()
    activation = torch.relu(features(seed=1))
    embedding = Embedding(12, 4)
    confidence = torch.linspace(0.2, 1, 400)[:, None]
    embedding.fit(pooled, activation, confidence, kept_share)
    vectors = embedding(pooled, activation, confidence)
    assert vectors.shape == (400, 16)
    assert variance(vectors) == pytest.approx(1.0, rel=1e-4)
    assert variance(vectors[:, 12:]) == pytest.approx(kept_share, abs=1e-5)
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


def test_few_or_equal_features_leave_components_empty_and_finite():
    for pooled in (features(n=3), torch.ones(5, 12)):
        embedding = Embedding(12, 8)
        embedding.fit(pooled, torch.zeros(len(pooled), 2), SURE, 0.5)
        assert torch.isfinite(embedding(pooled, torch.zeros(len(pooled), 2), SURE)).all()


def test_without_kept_units_the_embedding_is_the_activation():
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
    head = Head(12, 6, 3, kept_units=4).eval()
    pooled = features()
    before = head.classify(pooled)
    activation = head.activate(pooled).detach()
    head.embedding.fit(pooled, activation, head.confidence(head.norm2(activation)).detach(), 0.5)
    assert torch.equal(head.classify(pooled), before)
