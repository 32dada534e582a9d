"""Settings as an earlier version wrote them into run.json and checkpoints, and what they mean today."""

from dfutils.settings import TrainingSettings

OLD_SETTINGS = {
    "model": "inception_mean",
    "mode": "finetune",
    "backbone": "InceptionV3",
    "backbone_weights": "stand-in",
    "init_from": None,
    "views": 3,
    "class_weights": False,
    "epochs": 12,
    "batch_size": 16,
    "learning_rate": 0.001,
    "weight_decay": 0.0001,
    "patience": 6,
    "seed": 0,
    "finetune": {
        "unfreeze": "all",
        "train_batch_norm": False,
        "backbone_rate": 0.1,
        "warmup_fraction": 0.05,
        "schedule": "cosine",
        "label_smoothing": 0.05,
        "gradient_norm": 0.5,
        "weight_average": 0.999,
        "steps_per_epoch": 400,
        "frames_per_clip": None,
        "self_blended": 0.5,
        "paired": True,
        "augment": True,
        "patch": None,
        "precision": "auto",
    },
    "split": {"test_fraction": 0.2, "validation_fraction": 0.2, "seed": 0},
}
"""Without donor_share, balance_datasets, framing_jitter, size and margin, which came later."""

OLD_SETTINGS_TODAY = TrainingSettings(
    model="inception_mean",
    mode="finetune",
    backbone_weights="nsfwjs",
    augmented_copies=2,
    epochs=12,
    batch_size=16,
    finetune={
        "backbone_lr_multiplier": 0.1,
        "label_smoothing": 0.1,
        "clip_norm": 0.5,
        "ema_decay": 0.999,
        "steps_per_epoch": 400,
        "self_blended": 0.5,
        "paired": True,
    },
)
