"""`hf:ORG/NAME` as a MODEL, from a server on loopback as `HF_ENDPOINT`, with models written by transformers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from kinema.errors import UserError
from kinema.tasks.models import load_model
from kinema.weights.model_files import read_origin
from kinema.weights.published.hub import hub_files
from tests.models.hugging_face import randomized
from tests.weights.published.server import Server, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = {0: "jump", 1: "run", 2: "walk"}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

FIND = """
import sys
from kinema.console import print_fault, show_messages
from kinema.errors import UserError
from kinema.weights.find import find_model
show_messages()
for model in sys.argv[1:]:
    try:
        print(find_model(model))
    except UserError as error:
        print_fault(str(error))
"""


def networks() -> dict[str, Any]:
    torch.manual_seed(0)
    videomae = transformers.VideoMAEConfig(**SMALL, image_size=32, num_frames=4, id2label=NAMES)
    timesformer = transformers.TimesformerConfig(**SMALL, image_size=32, num_frames=4, num_labels=400)
    vjepa2 = transformers.VJEPA2Config(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=2, crop_size=32, frames_per_clip=4, num_labels=174,
        num_pooler_layers=1, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    return {
        "videomae": randomized(transformers.VideoMAEForVideoClassification(videomae)),
        "timesformer": randomized(transformers.TimesformerForVideoClassification(timesformer)),
        "vjepa2": randomized(transformers.VJEPA2ForVideoClassification(vjepa2)),
    }


NETWORKS = networks()


def serve(server: Server, repo: str, folder: Path, revision: str = "main") -> None:
    for file in ("config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json"):
        for name in (revision, COMMIT):
            path = f"/{repo}/resolve/{name}/{file}"
            if (folder / file).exists():
                server.files[path] = (folder / file).read_bytes()
            else:
                server.error_codes[path] = "EntryNotFound"


class Hub:
    """What one process found, by address, and what it said."""

    def __init__(self, server: Server, folder: Path) -> None:
        own = {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hf"), "KINEMA_CACHE": str(folder / "cache")}
        self.environment = {**os.environ, **own, "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.cache = folder / "cache"

    def find(self, *models: str) -> tuple[list[str], str]:
        ran = subprocess.run(
            [sys.executable, "-c", FIND, *models], env=self.environment, capture_output=True, text=True, check=True
        )
        return ran.stdout.split(), ran.stderr


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    with serving() as server:
        server.headers["X-Repo-Commit"] = COMMIT
        for name, network in NETWORKS.items():
            network.save_pretrained(folder / name)
            serve(server, f"tiny/{name}", folder / name)
        serve(server, "tiny/videomae", folder / "videomae", revision="v2")
        (folder / "pickled").mkdir()
        (folder / "pickled" / "config.json").write_bytes((folder / "videomae" / "config.json").read_bytes())
        serve(server, "tiny/pickled", folder / "pickled")
        (folder / "other").mkdir()
        (folder / "other" / "config.json").write_text('{"model_type": "bert"}')
        (folder / "other" / "model.safetensors").write_bytes((folder / "videomae" / "model.safetensors").read_bytes())
        serve(server, "tiny/other", folder / "other")
        server.error_codes["/tiny/nothing/resolve/main/config.json"] = "RepoNotFound"
        server.error_codes["/tiny/videomae/resolve/v9/config.json"] = "RevisionNotFound"
        found = Hub(server, folder)
        found.found, found.said = found.find(  # type: ignore[attr-defined]
            *(f"hf:tiny/{name}" for name in NETWORKS), "hf:tiny/videomae@v2", "hf:tiny/nothing", "hf:tiny/videomae@v9",
            "hf:tiny/pickled", "hf:tiny/other",
        )  # fmt: skip
        yield found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_converted_network_is_that_of_transformers(hub: Any, name: str) -> None:
    model, described = load_model(hub.cache / "hf" / "tiny" / name)
    clips = torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = NETWORKS[name](clips.transpose(1, 2)).logits
        assert (model(clips) - expected).abs().max() < 1e-4 * expected.abs().max()
    views = described.data.test_views
    assert views.crops.size == 32
    assert 4 in (views.sampling.clip_len, views.sampling.num_clips)
    assert described.recipe.startswith(name)


def test_names_and_revision_are_recorded(hub: Any) -> None:
    _, described = load_model(hub.cache / "hf" / "tiny" / "videomae")
    assert described.classes == ("jump", "run", "walk")
    _, described = load_model(hub.cache / "hf" / "tiny" / "timesformer")  # LABEL_0, … are no names
    assert described.classes[0] == "abseiling"
    _, described = load_model(hub.cache / "hf" / "tiny" / "vjepa2")
    assert described.recipe.endswith("sthv2")  # whose number of classes it has
    origin = read_origin(hub.cache / "hf" / "tiny" / "videomae")
    assert origin is not None
    assert (origin.urls, origin.revision) == (("hf:tiny/videomae",), COMMIT)
    assert (hub.cache / "hf" / "tiny" / "videomae@v2" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "said",
    [
        "hf:tiny/nothing: there is no such repository",
        "hf:tiny/videomae@v9: the repository has no such revision",
        "hf:tiny/pickled has no model.safetensors",
        "hf:tiny/other cannot be converted: its own configuration says model_type bert",
    ],
)
def test_faults_are_named(hub: Any, said: str) -> None:
    assert said in " ".join(hub.said.split())
    assert "Traceback" not in hub.said


def test_offline_a_converted_model_is_there_and_others_are_named(hub: Any) -> None:
    hub.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    found, said = hub.find("hf:tiny/videomae", "hf:tiny/new")
    assert found == [str(hub.cache / "hf" / "tiny" / "videomae")]
    assert "hf:tiny/new is not in the cache of the Hugging Face hub and cannot be downloaded" in " ".join(said.split())


@pytest.mark.parametrize("address", ["hf:name", "hf:org/name/more", "hf:", "hf:org/na me"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UserError, match="expected hf:ORG/NAME"):
        hub_files(address)
