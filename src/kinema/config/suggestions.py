"""Suggestions for unknown options, by names in other toolboxes and by similarity."""

import difflib
from collections.abc import Iterable

_CALLED_ELSEWHERE = {
    "accumulate": "accumulation_steps accum_iter cumulative_iters grad_accum gradient_accumulation "
    "gradient_accumulation_steps update_freq",
    "batch_size": "batch batch_size_per_gpu bs minibatch_size per_device_train_batch_size samples_per_gpu "
    "train_batch_size videos_per_gpu",
    "channels_last": "memory_format",
    "checkpoint_every": "checkpoint_interval checkpoint_period save_every save_freq save_interval save_steps",
    "classes": "class_names label_map labels_file names",
    "clip_len": "clip_length frames n_frames num_frames sequence_length",
    "clip_norm": "clip_grad clip_grad_norm grad_clip gradient_clip gradient_clip_val max_grad_norm max_norm",
    "color_jitter": "colour_jitter jitter",
    "compile": "torch_compile torchcompile",
    "crops": "num_crops num_spatial_crops three_crop",
    "depth": "layers num_hidden_layers num_layers resnet_depth",
    "device": "accelerator cuda devices gpu gpu_id gpu_ids gpus num_devices num_gpus",
    "drop_path": "drop_path_rate stochastic_depth",
    "dropout": "drop drop_rate dropout_rate dropout_ratio",
    "ema_decay": "ema model_ema",
    "epochs": "epoch max_epoch max_epochs n_epochs num_epochs num_train_epochs total_epochs",
    "features": "feature_dir feature_path",
    "flip": "hflip horizontal_flip random_flip",
    "frame_interval": "frame_stride interval sampling_rate stride temporal_stride",
    "frozen_stages": "freeze freeze_backbone freeze_stages frozen",
    "fully_shard": "fsdp sharding zero",
    "gamma": "decay_rate lr_decay lr_gamma",
    "gradient_checkpointing": "activation_checkpointing checkpointing grad_checkpointing use_checkpoint with_cp",
    "ground_truth": "annotation annotations ann_file gt",
    "heads": "num_attention_heads num_heads",
    "label_smoothing": "smoothing",
    "layer_decay": "layerwise_decay llrd lr_layer_decay",
    "log_every": "log_freq log_interval log_period print_freq",
    "lr": "base_lr init_lr initial_lr learning_rate learningrate lr0 max_lr",
    "lr_batch": "auto_scale_lr base_batch_size",
    "memcached": "memcached_servers servers",
    "milestones": "decay_epochs lr_milestones lr_step lr_steps step steps",
    "num_classes": "class_count n_classes nb_classes num_class",
    "num_clips": "clips n_segment n_segments num_segments num_views segments",
    "patch": "patch_size",
    "precision": "amp autocast bf16 dtype fp16 fp32 half mixed_precision",
    "pretrained": "imagenet pretrained_weights",
    "reader": "backend decoder video_backend video_decoder",
    "root": "data_dir data_path data_prefix data_root prefix video_root",
    "seed": "manual_seed random_seed random_state",
    "short_side": "resize resize_size scale short_edge",
    "size": "crop_size image_size img_size input_size resolution",
    "source": "input_type modality",
    "train": "train_annotations train_data train_dir train_list train_path",
    "tubelet": "tubelet_size",
    "val": "eval_data val_annotations val_data val_dir val_list val_path valid validation",
    "val_every": "eval_every eval_freq eval_interval eval_period evaluation_interval val_interval validate_every",
    "warmup_epochs": "warm_up warmup warmup_iters warmup_steps",
    "weight_decay": "decay l2 wd",
    "width": "base_channels base_width channels embed_dim hidden_size",
    "workers": "dataloader_num_workers j n_workers num_workers threads workers_per_gpu",
    # of commands themselves
    "config": "cfg config_file",
    "init": "checkpoint ckpt finetune finetune_from from_checkpoint load_from weights",
    "json": "as_json format",
    "output": "out outfile output_file save save_to",
    "render": "save_video visualize vis",
    "resume": "auto_resume continue resume_from",
    "top": "k top_k topk",
    "work_dir": "exp_dir experiment_dir log_dir logdir name out output output_dir project run_dir save_dir",
}
"""Names of options in other toolboxes, by the last part of the name here."""

_OPTIONS = {
    word.replace("_", ""): [name for name, words in _CALLED_ELSEWHERE.items() if word in words.split()]
    for words in _CALLED_ELSEWHERE.values()
    for word in words.split()
}


def as_option(key: str) -> str:
    """Return a dotted key as a command-line option: `--data.batch-size`."""
    return f"--{key.replace('_', '-')}"


def suggest(key: str, known: Iterable[str], *, likeness: float = 0.5) -> str:
    """Return `"; did you mean '--optim.lr'?"` for the options that `key` may stand for; empty if there are none.

    These are options with the same last part, else those that other toolboxes call so, else the most similar name, if
    its similarity (0 to 1) is at least `likeness`.
    """
    known = list(known)
    group, _, name = key.rpartition(".")
    near = [other for other in known if other.rpartition(".")[2] == name]
    near = near or _by_meaning(group, name.replace("_", "").lower(), known)
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=likeness)
    named = " or ".join(f"'{as_option(other)}'" for other in near)
    return named and f"; did you mean {named}?"


def named_elsewhere(word: str, known: Iterable[str]) -> list[str]:
    """Return the options that other toolboxes call `word`, such as `lr` for `learning_rate`."""
    return _by_meaning("", word.replace("_", "").replace("-", "").lower(), list(known))


def _by_meaning(group: str, word: str, known: list[str]) -> list[str]:
    words = difflib.get_close_matches(word, _OPTIONS, n=1, cutoff=0.9)
    options = _OPTIONS[words[0]] if words else []
    near = [other for other in known if other.rpartition(".")[2] in options]
    return [other for other in near if other.rpartition(".")[0] == group] or near
