"""Query vectors in a .npy file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ConfigError
from lookalike.lsh.checks import checked_vectors


def read_query_vectors(path: Path, dim: int) -> dict[str, NDArray[np.float32]]:
    """Return the vectors (dim,) float32 of a file of shape (dim,) or (n, dim), in order, by their names in results.

    The name is the path, with the number of the row in brackets if there are several. Raises ConfigError for a file
    that cannot be read or holds anything but finite vectors of `dim` components.
    """
    try:
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.size == 0:
            raise ConfigError(f"{path} holds no vectors; expected a .npy file of shape ({dim},) or (n, {dim})")
        vectors = checked_vectors(array[None, :] if array.ndim == 1 else array, dim, str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}; expected a .npy file") from error
    except EOFError as error:
        raise ConfigError(f"{path} is empty; expected a .npy file") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{' '.join(str(error).split())}; expected a .npy file of ({dim},) or (n, {dim})") from error
    if array.ndim == 1:
        return {str(path): vectors[0]}
    return {f"{path}[{row}]": vector for row, vector in enumerate(vectors)}
