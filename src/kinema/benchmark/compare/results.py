"""What contenders of a comparison took, and their ratios."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

OWN = "Kinema"
BEST = "Kinema, best precision"


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a contender did; times in seconds, memory in GiB. All but `fault` is empty when it does not run."""

    fault: str = ""
    """Why it does not run."""
    train: list[list[float]] = field(default_factory=list)
    """Each iteration of each round."""
    infer: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)
    """What all threads worked in each training iteration, which other programs on the machine hardly change."""
    memory_gib: float = 0.0
    parameters: int = 0
    notes: list[str] = field(default_factory=list)
    """What had to be worked around."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def s_per_iter(self) -> float:
        """Median of the training iterations."""
        return median(each for turn in self.train for each in turn)

    @property
    def infer_s(self) -> float:
        """Median of the forward passes."""
        return median(each for turn in self.infer for each in turn)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One row's contenders, measured in turn."""

    row: str
    title: str
    recipe: str
    batch_size: int
    machine: str
    results: dict[str, Result]
    load: float = 0.0
    """Cores that other programs kept busy for two seconds before anything was started."""

    @property
    def disturbed(self) -> bool:
        """Whether others worked on the machine: times then say little, CPU times more."""
        return self.load > 0.25

    def cpu_ratio(self, contender: str) -> float | None:
        """The same of CPU times."""
        own, other = self.results[OWN], self.results[contender]
        if not own.cpu or not other.cpu:
            return None
        return median(median(them) / median(us) for them, us in zip(other.cpu, own.cpu, strict=True))

    def ratio(self, contender: str) -> float | None:
        """How many times as long as Kinema in fp32 the contender takes: median over the rounds, each with its own."""
        own, other = self.results[OWN], self.results[contender]
        if own.fault or other.fault:
            return None
        return median(median(them) / median(us) for them, us in zip(other.train, own.train, strict=True))

    def as_json(self) -> dict[str, Any]:
        """With the medians and ratios."""
        found = asdict(self)
        for name, result in self.results.items():
            if not result.fault:
                found["results"][name] |= {
                    "s_per_iter": result.s_per_iter,
                    "infer_s": result.infer_s,
                    "ratio": self.ratio(name),
                    "cpu_ratio": self.cpu_ratio(name),
                }
        return found
