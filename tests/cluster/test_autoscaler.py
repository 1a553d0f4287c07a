"""The autoscaler's YAML, by the validator that `ray up` runs; the container file, by what it must and must not say."""

from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "cluster"
FILES = ("onprem.yaml", "aws.yaml")


def tree(name: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load((FOLDER / "autoscaler" / name).read_text())
    return found


@pytest.mark.parametrize("name", FILES)
def test_ray_takes_it(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(tree(name))  # defaults filled in, as `ray up` does before it looks
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert prepared["docker"]["image"].endswith("/selfray:0.1.0")
    with pytest.raises(Exception, match="idle_timeout_minute'"):
        validate_config({**prepared, "idle_timeout_minute": 5})


@pytest.mark.parametrize("name", FILES)
def test_it_is_closed(name):
    config = tree(name)
    mounts = config["file_mounts"]
    assert isinstance(mounts, dict)
    (token,) = mounts
    docker = config["docker"]
    assert isinstance(docker, dict)
    assert f"--env RAY_AUTH_TOKEN_PATH={token}" in docker["run_options"], "`ray exec` may ask the cluster"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = config[key]
        assert isinstance(commands, list)
        (start,) = (command for command in commands if "ray start" in command)
        assert start.startswith(f"chmod 600 {token} && RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={token} ray start ")
        assert "0.0.0.0" not in start
        assert ("--dashboard-host=127.0.0.1" in start) == ("--head" in start)
    assert "0.0.0.0/0" not in (FOLDER / "autoscaler" / name).read_text()


def test_aws_has_nodes_that_train_and_nodes_that_read():
    types = tree("aws.yaml")["available_node_types"]
    assert isinstance(types, dict)
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["gpu"]["resources"]["GPU"] == 1 and "GPU" not in types["cpu"]["resources"]


def test_the_image_is_not_root_and_holds_no_secret():
    lines = (FOLDER / "Containerfile").read_text().splitlines()
    said = [line.split(maxsplit=1) for line in lines if line[:1].isupper()]
    assert [value for word, value in said if word == "USER"] == ["1000"]
    assert any("RAY_AUTH_MODE=token" in value for _, value in said)
    assert not any(word in "\n".join(lines).upper() for word in ("PASSWORD", "SECRET_KEY", "AUTH_TOKEN="))
    copied = {part for word, value in said if word == "COPY" for part in value.split()[:-1]}
    top = FOLDER.parent
    assert all((top / part).exists() for part in copied)
    for ignore in (".dockerignore", ".containerignore"):
        allowed = {
            line.removeprefix("!").removesuffix("/**") for line in (top / ignore).read_text().split() if "!" in line
        }
        assert allowed == copied, "nothing travels into the image but what it copies"
    assert "constraints.txt" in copied and any("--constraint constraints.txt" in line for line in lines)
