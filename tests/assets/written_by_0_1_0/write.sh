#!/usr/bin/env bash
# Writes the files of this folder, with Kinema 0.1.0 of commit 62bfc93:
#     cd EMPTY_FOLDER && KINEMA="python -m kinema" PYTHONPATH=CHECKOUT/src:CHECKOUT bash write.sh
# Only what the tests read is kept: model.json and model.safetensors, and the run that is to be resumed.
set -eu
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

$KINEMA prepare sample sample --train-per-class 2 --val-per-class 1
python - <<'PYTHON'
from pathlib import Path

from tests.assets.old_data import write_flow_lists, write_multi_label_list
from tests.tasks.localization.planted import write_planted

write_multi_label_list(Path("labels.csv"), Path("sample/train"))
write_flow_lists(Path("flow"))
write_planted(Path("planted"), videos=8, channels=8, parts=20)
PYTHON

sample="--data.train sample/train --data.val sample/val"
small="--data.batch-size 4 --data.workers 0 --training.val-every 1 --training.log-every 1 --schedule.epochs 2
    --schedule.warmup-epochs 0"
pixels="--train-clip.crop.size 32 --val-views.crops.short-side 32 --val-views.crops.size 32
    --test-views.crops.short-side 32 --test-views.crops.size 32"
short="--data.workers 0 --data.batch-size 4 --schedule.epochs 1 --schedule.milestones 1"

# A run killed in its second epoch, and the rows of one that was left alone.
tsm="tsm_r18_video_1x1x8_sample_rgb --model.width 2 --model.shift-div 2 --optim.lr 0.02 $small $pixels $sample"
$KINEMA train $tsm --work-dir whole
$KINEMA train $tsm --work-dir resumable &
until [ -s resumable/checkpoints/last/training.json ]; do sleep 0.02; done
kill -9 $!
cp whole/metrics.jsonl resumable/uninterrupted.jsonl

$KINEMA train slowfast_r18_video_4x4x1_small_rgb --model.num-classes 8 --model.width 1 --model.beta 1 $small $pixels $sample \
    --work-dir slowfast
$KINEMA train tsn_r50_1x1x3_110e_kinetics400_flow --model.depth 18 --model.width 2 --model.num-classes 2 \
    --model.pretrained none --data.train flow/list.txt --data.val flow/list.txt $short $pixels --work-dir flow_tsn
$KINEMA train tsm_r18_video_1x1x8_small_rgb --model.width 2 --model.shift-div 2 --model.num-classes 8 --task.labels multi \
    --data.train labels.csv --data.val labels.csv $small $pixels --work-dir multi_label

planted="--data.ground-truth planted/truth.json --data.features planted/features --data.parts 20"
$KINEMA train bmn_64x50_small_feature --model.feature-channels 8 --model.parts 20 --model.samples 4 --model.hidden-1d 8 \
    --model.hidden-2d 8 --model.hidden-3d 8 $planted $short --work-dir bmn
$KINEMA train bsn_64x50_small_feature --tem.model.feature-channels 8 --tem.model.hidden 8 --pem.model.hidden 8 $planted \
    --data.workers 0 --data.batch-size 4 --tem.schedule.epochs 1 --pem.schedule.epochs 1 --tem.schedule.milestones 1 \
    --pem.schedule.milestones 1 --work-dir bsn
$KINEMA train bsn_pgm_400x100_activitynet_feature --tem bsn/tem --work-dir bsn_pgm

python -c "
import torch
from torchvision.models import resnet18
torch.save(resnet18(num_classes=3).state_dict(), 'resnet18.pth')"
printf "catch\nkick\nthrow\n" > classes.txt
$KINEMA convert resnet18.pth --from torchvision --recipe tsn_r18_video_1x1x3_100e_kinetics400_rgb \
    --classes classes.txt --output converted

# What they answer.
clip=sample/val/moving_left/moving_left_0000.mp4
for run in resumable slowfast; do $KINEMA predict $run $clip --top 8 --json > $run/answers.json; done
$KINEMA test flow_tsn --dump flow_tsn/scores.npz
for run in bmn bsn; do $KINEMA test $run; done
python - <<'PYTHON'
import json
from pathlib import Path

for run in ("bmn", "bsn"):  # the ten best proposals of each video
    answer = json.loads(Path(run, "test/results.json").read_text())
    answer["results"] = {video: proposals[:10] for video, proposals in answer["results"].items()}
    Path(run, "results.json").write_text(json.dumps(answer, indent=1))
PYTHON

# Folders of machines and what no test reads.
find . -name model.json -exec sed -i "s|\"folder\": \".*\"|\"folder\": \"/home/user/videos\"|" {} +
find . \( -name tensorboard -o -name curves.png -o -name "v_*.npz" -o -name test \) -exec rm -r {} +
