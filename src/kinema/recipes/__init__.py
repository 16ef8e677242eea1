"""What was trained how: a file per model family, a function per recipe returning a complete config. No code but calls.

`config_of(name)` is the way to one, with options changed by dotted key.
"""

from collections.abc import Callable, Mapping

from torch import nn

from kinema.addresses import load_address
from kinema.config import apply, leaves
from kinema.errors import UserError, did_you_mean
from kinema.recipes import bmn, bsn, i3d, r2plus1d, sample, slowfast, torchvision_models, tsm, tsn
from kinema.training import BSNConfig, Config, LocalizationConfig, PGMConfig, RecipeConfig

RECOGNIZERS: dict[str, Callable[[], Config]] = {
    recipe.__name__: recipe
    for recipe in (
        tsn.tsn_r50_1x1x3_100e_kinetics400_rgb,
        tsn.tsn_r50_video_1x1x3_100e_kinetics400_rgb,
        tsn.tsn_r18_video_1x1x3_100e_kinetics400_rgb,
        tsn.tsn_r101_video_1x1x3_100e_kinetics400_rgb,
        tsn.tsn_r50_video_1x1x8_100e_kinetics400_rgb,
        tsn.tsn_r50_1x1x8_100e_kinetics400_rgb,
        tsn.tsn_r50_1x1x3_110e_kinetics400_flow,
        tsn.tsn_r50_1x1x3_75e_ucf101_rgb,
        tsn.tsn_r50_video_1x1x3_75e_ucf101_rgb,
        tsn.tsn_r50_1x1x8_50e_hmdb51_rgb,
        tsn.tsn_r50_video_1x1x8_50e_hmdb51_rgb,
        tsn.tsn_r50_1x1x8_50e_sthv1_rgb,
        tsn.tsn_r50_1x1x8_50e_sthv2_rgb,
        tsn.tsn_r50_video_1x1x8_50e_sthv2_rgb,
        tsn.tsn_r18_video_1x1x8_small_rgb,
        tsm.tsm_r50_1x1x8_50e_kinetics400_rgb,
        tsm.tsm_r50_video_1x1x8_50e_kinetics400_rgb,
        tsm.tsm_r18_video_1x1x8_50e_kinetics400_rgb,
        tsm.tsm_r101_video_1x1x8_50e_kinetics400_rgb,
        tsm.tsm_r50_1x1x16_50e_kinetics400_rgb,
        tsm.tsm_r50_video_1x1x16_50e_kinetics400_rgb,
        tsm.tsm_r50_1x1x8_25e_ucf101_rgb,
        tsm.tsm_r50_video_1x1x8_25e_ucf101_rgb,
        tsm.tsm_r50_1x1x8_25e_hmdb51_rgb,
        tsm.tsm_r50_video_1x1x8_25e_hmdb51_rgb,
        tsm.tsm_r50_1x1x8_50e_sthv1_rgb,
        tsm.tsm_r50_1x1x8_50e_sthv2_rgb,
        tsm.tsm_r50_video_1x1x8_50e_sthv2_rgb,
        tsm.tsm_r50_1x1x16_50e_sthv2_rgb,
        tsm.tsm_r50_video_1x1x16_50e_sthv2_rgb,
        tsm.tsm_r18_video_1x1x8_small_rgb,
        tsm.tsm_r18_1x1x8_small_rgb,
        i3d.i3d_r50_32x2x1_100e_kinetics400_rgb,
        i3d.i3d_r50_video_32x2x1_100e_kinetics400_rgb,
        i3d.i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb,
        i3d.i3d_r50_heavy_8x8x1_100e_kinetics400_rgb,
        i3d.i3d_r50_video_8x8x1_100e_kinetics400_rgb,
        i3d.i3d_r50_8x8x1_100e_kinetics400_rgb,
        i3d.i3d_r50_nl_dot_product_32x2x1_100e_kinetics400_rgb,
        i3d.i3d_r50_nl_embedded_gaussian_32x2x1_100e_kinetics400_rgb,
        i3d.i3d_r50_video_nl_embedded_gaussian_8x8x1_100e_kinetics400_rgb,
        i3d.i3d_r101_video_32x2x1_100e_kinetics400_rgb,
        i3d.i3d_r18_video_32x2x1_100e_kinetics400_rgb,
        i3d.i3d_r18_video_16x2x1_small_rgb,
        slowfast.slowonly_r50_video_4x16x1_256e_kinetics400_rgb,
        slowfast.slowonly_r50_4x16x1_256e_kinetics400_rgb,
        slowfast.slowonly_r50_video_8x8x1_256e_kinetics400_rgb,
        slowfast.slowonly_r50_8x8x1_256e_kinetics400_rgb,
        slowfast.slowonly_r18_video_4x16x1_256e_kinetics400_rgb,
        slowfast.slowonly_r101_video_8x8x1_196e_kinetics400_rgb,
        slowfast.slowonly_r101_8x8x1_196e_kinetics400_rgb,
        slowfast.slowonly_r50_8x4x1_40e_ucf101_rgb,
        slowfast.slowonly_r50_video_8x4x1_40e_ucf101_rgb,
        slowfast.slowonly_r50_8x4x1_40e_hmdb51_rgb,
        slowfast.slowonly_r50_video_8x4x1_40e_hmdb51_rgb,
        slowfast.slowonly_r18_video_8x4x1_small_rgb,
        slowfast.slowfast_r50_video_4x16x1_256e_kinetics400_rgb,
        slowfast.slowfast_r50_4x16x1_256e_kinetics400_rgb,
        slowfast.slowfast_r50_video_8x8x1_256e_kinetics400_rgb,
        slowfast.slowfast_prebn_r50_8x8x1_256e_kinetics400_rgb,
        slowfast.slowfast_multigrid_r50_8x8x1_358e_kinetics400_rgb,
        slowfast.slowfast_r101_video_8x8x1_256e_kinetics400_rgb,
        slowfast.slowfast_r101_8x8x1_256e_kinetics400_rgb,
        slowfast.slowfast_r50_8x8x1_256e_kinetics400_rgb,
        slowfast.slowfast_r18_video_4x16x1_256e_kinetics400_rgb,
        slowfast.slowfast_r101_video_4x16x1_256e_kinetics400_rgb,
        slowfast.slowfast_r50_16x8x1_22e_sthv1_rgb,
        slowfast.slowfast_r50_16x8x1_57e_charades_rgb,
        slowfast.slowfast_r50_video_16x8x1_57e_charades_rgb,
        slowfast.slowfast_r18_video_4x4x1_small_rgb,
        slowfast.slowfast_r18_4x4x1_small_rgb,
        r2plus1d.r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb,
        r2plus1d.r2plus1d_r34_8x8x1_180e_kinetics400_rgb,
        r2plus1d.r2plus1d_r34_video_32x2x1_180e_kinetics400_rgb,
        r2plus1d.r2plus1d_r34_32x2x1_180e_kinetics400_rgb,
        r2plus1d.r2plus1d_r18_video_8x8x1_180e_kinetics400_rgb,
        r2plus1d.r2plus1d_r18_video_16x2x1_small_rgb,
        torchvision_models.r2plus1d_18_video_16x2x1_225e_kinetics400_rgb,
        torchvision_models.r3d_18_video_16x2x1_225e_kinetics400_rgb,
        torchvision_models.mc3_18_video_16x2x1_225e_kinetics400_rgb,
        sample.tsm_r18_video_1x1x8_sample_rgb,
        sample.tsn_r18_video_1x1x8_sample_rgb,
    )
}
"""Recipes of models that tell what happens in a clip."""

LOCALIZERS: dict[str, Callable[[], LocalizationConfig | PGMConfig | BSNConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        bmn.bmn_400x100_2x8_9e_activitynet_feature,
        bmn.bmn_64x50_small_feature,
        bsn.bsn_tem_400x100_1x16_20e_activitynet_feature,
        bsn.bsn_pgm_400x100_activitynet_feature,
        bsn.bsn_pem_400x100_1x16_20e_activitynet_feature,
        bsn.bsn_400x100_20e_activitynet_feature,
        bsn.bsn_64x50_small_feature,
    )
}
"""Recipes of models that find when something happens in a long video."""

_MOST_NAMED = 20

RECIPES: dict[str, Callable[[], RecipeConfig]] = {**RECOGNIZERS, **LOCALIZERS}


def config_of(name: str, values: Mapping[str, object] | None = None) -> RecipeConfig:
    """The config of a recipe, by name or as `my_file.py:function`, with the options `values` (dotted keys) changed.

    Raises:
        UserError: there is no such recipe, or options are unknown or out of range.
    """
    config = find_recipe(name)()
    own = {key: leaf.value for key, leaf in leaves(config).items()}  # checked too: a recipe is code, and may be wrong
    config = apply(config, {**own, **(values or {})})
    config.recipe = name
    return config


def recognizer_config_of(name: str, values: Mapping[str, object] | None = None) -> Config:
    """The config of a recognizer's recipe; see `config_of`.

    Raises:
        UserError: there is no such recipe, or it is of another kind, or options are unknown or out of range.
    """
    config = config_of(name, values)
    if not isinstance(config, Config):
        raise UserError(f"the recipe {name} is of a localizer; here one is needed that tells what happens in a clip")
    return config


def build_model(name: str, values: Mapping[str, object] | None = None) -> nn.Module:
    """Return the network of a recipe with random weights.

    Args:
        name: recipe, or `my_file.py:function`.
        values: options to change, by dotted key: `{"model.num_classes": 10}`.

    Raises:
        UserError: there is no such recipe, it has no network or two, or options are unknown or out of range.
    """
    config = config_of(name, values)
    if isinstance(config, PGMConfig):
        raise UserError(f"the recipe {name} has no network: it makes candidates out of what a TEM says")
    if isinstance(config, BSNConfig):
        raise UserError(f"the recipe {name} has two networks: those of the recipes bsn_tem_… and bsn_pem_…")
    return config.model.build()


def find_recipe(name: str) -> Callable[[], RecipeConfig]:
    """The recipe called `name`, or the function of a file `my_file.py:function`.

    Raises:
        UserError: there is no such recipe; offers the nearest name.
    """
    if ":" in name:
        recipe: Callable[[], RecipeConfig] = load_address(name, what="recipe")
        return recipe
    if name not in RECIPES:
        raise UserError(f"no recipe is called '{name}'{_nearest(name)}")
    return RECIPES[name]


def _nearest(name: str) -> str:
    """What to say of recipes whose names hold `name`, or all parts of it (tsm_small), or else of the nearest one."""
    parts = [part for part in name.lower().split("_") if part]
    fitting = [recipe for recipe in RECIPES if parts and name.lower() in recipe]
    fitting = fitting or [recipe for recipe in RECIPES if parts and all(part in recipe for part in parts)]
    if len(fitting) > 1:
        lines = "".join(f"\n  {recipe}" for recipe in fitting[:_MOST_NAMED])
        further = f"\n  … `kinema recipes {parts[0]}` lists them all" if len(fitting) > _MOST_NAMED else ""
        return f"; {len(fitting)} recipes have it in their names:{lines}{further}"
    near = f"; did you mean '{fitting[0]}'?" if fitting else did_you_mean(name, RECIPES)
    return f"{near} (`kinema recipes` lists them all)"
