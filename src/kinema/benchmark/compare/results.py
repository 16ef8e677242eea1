"""Timings of the contenders of a comparison, and their ratios."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

OWN = "Kinema"
BEST = "Kinema, best precision"


@dataclass(frozen=True, kw_only=True)
class Result:
    """Timings of one contender, in seconds. Only `fault` is set if it could not run."""

    fault: str = ""
    """Error message of a contender that could not run."""
    train: list[list[float]] = field(default_factory=list)
    """Training iterations, one list per round."""
    infer: list[list[float]] = field(default_factory=list)
    """Forward passes, one list per round."""
    cpu: list[list[float]] = field(default_factory=list)
    """CPU time of all threads in each training iteration; barely affected by other load on the machine."""
    memory_gib: float = 0.0
    parameters: int = 0
    notes: list[str] = field(default_factory=list)
    """Workarounds that were needed to run it."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def s_per_iter(self) -> float:
        """Median training iteration."""
        return median(seconds for round_ in self.train for seconds in round_)

    @property
    def infer_s(self) -> float:
        """Median forward pass."""
        return median(seconds for round_ in self.infer for seconds in round_)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The contenders of one row of the benchmark, measured in turn."""

    row: str
    title: str
    recipe: str
    batch_size: int
    machine: str
    results: dict[str, Result]
    load: float = 0.0
    """Cores kept busy by other programs just before the measurement."""

    @property
    def disturbed(self) -> bool:
        """Whether other programs kept the machine busy, so that CPU times are more telling than wall-clock times."""
        return self.load > 0.25

    def ratio(self, contender: str) -> float | None:
        """Iteration time relative to Kinema in fp32: median over rounds, each compared with the same round."""
        return self._ratio(contender, lambda result: result.train)

    def cpu_ratio(self, contender: str) -> float | None:
        """Like `ratio`, of CPU times."""
        return self._ratio(contender, lambda result: result.cpu)

    def _ratio(self, contender: str, times: Callable[[Result], list[list[float]]]) -> float | None:
        """Return the ratio of times by round; None where one of the two has not run."""
        rounds = [times(self.results[name]) if name in self.results else [] for name in (contender, OWN)]
        if not all(rounds):
            return None
        return median(median(theirs) / median(ours) for theirs, ours in zip(*rounds, strict=True))

    def as_json(self) -> dict[str, Any]:
        """All fields, with the medians and ratios of each result."""
        fields = asdict(self)
        for name, result in self.results.items():
            if not result.fault:
                fields["results"][name] |= {
                    "s_per_iter": result.s_per_iter,
                    "infer_s": result.infer_s,
                    "ratio": self.ratio(name),
                    "cpu_ratio": self.cpu_ratio(name),
                }
        return fields
