"""Options of BSN's candidates."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Interval


@dataclass(kw_only=True)
class GenerationOptions:
    """Selection of candidates."""

    peak_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Fraction of a video's maximum probability above which a part is possible without being a peak."""
    max_candidates: Annotated[int, Ge(1)] = 1000
    """Maximum number of candidates of a video."""


@dataclass(kw_only=True)
class ProposalFeatureOptions:
    """How a candidate is described: samples of actionness inside it, around its start and around its end."""

    boundary_ratio: Annotated[float, Gt(0)] = 0.2
    """Reach of the start's and the end's surroundings to either side, over the candidate's length."""
    action_samples: Annotated[int, Ge(2)] = 16
    """Samples from the start to the end."""
    start_samples: Annotated[int, Ge(2)] = 8
    """Samples around the start."""
    end_samples: Annotated[int, Ge(2)] = 8
    """Samples around the end."""
    points: Annotated[int, Ge(1)] = 3
    """Parts of a sample: it is the mean of actionness at their borders, one more than parts."""


@dataclass(kw_only=True)
class CandidateOptions:
    """Generation of candidates from the output of TEM."""

    generation: GenerationOptions = field(default_factory=GenerationOptions)
    description: ProposalFeatureOptions = field(default_factory=ProposalFeatureOptions)
