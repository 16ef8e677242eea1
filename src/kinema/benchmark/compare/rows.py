"""Models of the benchmark's tables, with their recipes and the peers that implement them."""

from dataclasses import dataclass, field

from kinema.errors import UserError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another toolbox that Kinema is compared with."""

    program: str
    """Module of `kinema.benchmark.peers` that builds and times its models."""
    environment: str = "torch"
    """Name in `ENVIRONMENTS` of the virtual environment it runs in."""
    checkout: str = ""
    """Folder of its cloned repository, if it is not an installed package."""
    url: str = ""
    """Address of the repository."""


PEERS: dict[str, Peer] = {
    "MMAction2": Peer(program="mmaction2"),
    "MMAction": Peer(program="mmaction_0x", checkout="mmaction", url="https://github.com/open-mmlab/mmaction"),
    "Temporal-Shift-Module": Peer(
        program="temporal_shift",
        checkout="temporal-shift-module",
        url="https://github.com/mit-han-lab/temporal-shift-module",
    ),
    "PySlowFast": Peer(program="pyslowfast", checkout="SlowFast", url="https://github.com/facebookresearch/SlowFast"),
    "pytorchvideo": Peer(program="pytorchvideo_models"),
    "torchvision": Peer(program="torchvision_models"),
    "BSN": Peer(
        program="bsn",
        environment="tensorflow",
        checkout="BSN-boundary-sensitive-network",
        url="https://github.com/wzmsltw/BSN-boundary-sensitive-network",
    ),
    "BMN": Peer(
        program="jjboy_bmn",
        checkout="BMN-Boundary-Matching-Network",
        url="https://github.com/JJBOY/BMN-Boundary-Matching-Network",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model of the benchmark."""

    title: str
    recipe: str
    shape: tuple[int, ...]
    """Shape of a sample: (C, T, H, W) pixels, (C, T) features or (candidates, C)."""
    peers: tuple[str, ...]
    """Peers that implement the model."""
    batch_size: int = 2
    """Samples per batch on a CPU."""
    spec_batch: str = "8x8"
    """Videos per GPU × GPUs in the benchmark."""
    keys: dict[str, object] = field(default_factory=dict)
    """Options that turn the recipe's model into that of the peers."""


ROWS: dict[str, Row] = {
    "tsn": Row(
        title="TSN",
        recipe="tsn_r50_1x1x3_100e_kinetics400_rgb",
        shape=(3, 3, 224, 224),
        peers=("MMAction2", "MMAction", "Temporal-Shift-Module", "torchvision"),
        spec_batch="32x8",
    ),
    "i3d_heavy": Row(
        title="I3D heavy",
        recipe="i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb",
        shape=(3, 8, 224, 224),
        peers=("MMAction2", "PySlowFast"),
    ),
    "i3d_8x8": Row(
        title="I3D 8x8, as PySlowFast's",
        recipe="i3d_r50_video_8x8x1_100e_kinetics400_rgb",
        shape=(3, 8, 224, 224),
        peers=("PySlowFast", "pytorchvideo"),
    ),
    "i3d": Row(
        title="I3D",
        recipe="i3d_r50_32x2x1_100e_kinetics400_rgb",
        shape=(3, 32, 224, 224),
        peers=("MMAction2", "MMAction"),
    ),
    "tsm": Row(
        title="TSM",
        recipe="tsm_r50_1x1x8_50e_kinetics400_rgb",
        shape=(3, 8, 224, 224),
        peers=("MMAction2", "Temporal-Shift-Module"),
    ),
    "slowonly": Row(
        title="Slowonly",
        recipe="slowonly_r50_video_4x16x1_256e_kinetics400_rgb",
        shape=(3, 4, 224, 224),
        peers=("MMAction2", "PySlowFast", "pytorchvideo"),
    ),
    "slowfast": Row(
        title="Slowfast",
        recipe="slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
        shape=(3, 32, 224, 224),
        peers=("MMAction2", "PySlowFast", "pytorchvideo"),
    ),
    "r2plus1d": Row(
        title="R(2+1)D",
        recipe="r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb",
        shape=(3, 8, 224, 224),
        peers=("MMAction2",),
    ),
    "tem": Row(
        title="BSN: TEM",
        recipe="bsn_tem_400x100_1x16_20e_activitynet_feature",
        shape=(400, 100),
        peers=("MMAction2", "BSN"),
        batch_size=16,
        spec_batch="16x1",
    ),
    "pem": Row(
        title="BSN: PEM",
        recipe="bsn_pem_400x100_1x16_20e_activitynet_feature",
        shape=(500, 32),
        peers=("MMAction2", "BSN"),
        batch_size=16,
        spec_batch="16x1",
    ),
    "bmn": Row(
        title="BMN",
        recipe="bmn_400x100_2x8_9e_activitynet_feature",
        shape=(400, 100),
        peers=("MMAction2", "BMN"),
        spec_batch="8x2",
    ),
}


def find_row(name: str) -> Row:
    """Return the row called `name`.

    Raises:
        UserError: There is no such row.
    """
    if name not in ROWS:
        raise UserError(f"no model of the benchmark is called '{name}'{did_you_mean(name, ROWS)}: {', '.join(ROWS)}")
    return ROWS[name]
